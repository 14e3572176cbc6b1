"""What the commands share; it lives in `dadnet.cli`, since `dadnet` has commands of its own."""

from dadnet.cli import BAD_INPUT, DONE, INCOMPLETE, console, parse, run_command

__all__ = ["BAD_INPUT", "DONE", "INCOMPLETE", "console", "parse", "run_command"]
