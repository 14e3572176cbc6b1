"""The boundary of every command: whatever happens inside becomes one line and an exit status.

It loads nothing but Python's own modules, so that a command can enter it before its imports.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from dadnet.base.disk import FULL
from dadnet.base.errors import DadnetError, OutsideError, StorageError

DONE, BAD_INPUT, INCOMPLETE = 0, 2, 3
# Ctrl-C; the end by a scheduler; a closed terminal; SLURM's warning (`--signal=USR1@60`).
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

# Installed together; the last three have names that a user's own files may have too.
PACKAGES = ("dadnet", "orchestration", "results", "search_spaces")
_ROOT = Path(__file__).resolve().parents[2]
_INTERRUPTED = "interrupted; what is finished is kept"
# Errors of libraries that a command cannot mend, by the package that defines them.
_LIBRARIES = {
    "ray": "the Ray cluster failed",
    "optuna": "the storage of the studies failed",
    "sqlalchemy": "the database of the studies failed",
    "sqlite3": "the database of the studies failed",
}


def run_command(command: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error becomes one line on stderr.

    Args:
        command: takes the words and returns its status.
        argv: the words; None: those of this process.

    Returns:
        The command's status. 2 if the input cannot be used. 3 if the command was interrupted or
        failed; the traceback of an unexpected error is in a file that the line names.

    Raises:
        SystemExit: with 0, after `--help`.
    """
    open_streams()
    try:
        with _end_signals_interrupt():
            status = command(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()  # output that cannot be written is an error of the command
            return status
    except SystemExit as stop:
        if stop.code in (DONE, None):
            raise
        status, text = BAD_INPUT, f"a called program ended this one: {stop.code}"
    except (Exception, KeyboardInterrupt) as error:
        status, text = _verdict(error)
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(1)
    print(f"error: {one_line(text)}", file=sys.stderr)
    return status


def guard_process() -> None:
    """For a process of a command: until `run_command` begins, an error is one line and a status."""
    guard_imports()
    sys.excepthook = _end_by_error


def _end_by_error(kind: type[BaseException], error: BaseException, _: Any) -> NoReturn:
    status, text = _verdict(error)
    with suppress(OSError):
        os.write(2, f"error: {one_line(text)}\n".encode(errors="replace"))
    os._exit(status)


def put_packages_first() -> None:
    """For a process of a command: a `results.py` of the current folder is not imported for ours.

    Python looks first into the current folder (`python -m`) or that of the script. That folder
    stays, as the last one, for what the user's own network imports.
    """
    root = str(_ROOT)
    if sys.path and not getattr(sys.flags, "safe_path", False) and sys.path[0] != root:
        sys.path.append(sys.path.pop(0))
    if root not in sys.path:  # an editable install, which Python asks after all folders
        sys.path.insert(0, root)


def check_packages() -> None:
    """Refuse to go on with a file of the user's in the place of one of our packages.

    Raises:
        DadnetError: with the name of the file; before anything of it is run.
    """
    for name in PACKAGES:
        spec = find_spec(name)
        found = spec and (spec.origin or next(iter(spec.submodule_search_locations or ()), None))
        if found and not Path(found).resolve().is_relative_to(_ROOT / name):
            raise DadnetError(
                f"{found} is in the way of the package {name!r} of dadnet-loso, which is in "
                f"{_ROOT}: expected another name or folder for it; the command `dadnet` does not "
                "look into the current folder"
            )


def guard_imports() -> dict[int, Any]:
    """Until `run_command` begins, a signal that ends a process gives one line and status 3.

    An exception would not do: libraries that load in C turn it into an error of their own.

    Returns:
        The handlers that were there, by signal.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler, _interrupt)
    return {
        number: signal.signal(number, _end_at_once)
        for number in END_SIGNALS
        if signal.getsignal(number) in usual
    }


def imported(name: str) -> Any:
    """Import a module of commands inside `run_command`; a signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return importlib.import_module(name)
    before = guard_imports()
    try:
        return importlib.import_module(name)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(number: int, frame: Any) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"error: {_INTERRUPTED}\n".encode())
    os._exit(INCOMPLETE)


@contextmanager
def as_dadnet_errors() -> Iterator[None]:
    """For calls from Python: what a command reports as bad input is a `DadnetError` with its text.

    Raises:
        DadnetError: in the place of errors of disks and of SystemExit.
    """
    try:
        yield
    except OSError as error:
        if (known := _os_verdict(error)) is None:
            raise
        raise StorageError(one_line(known[1])) from error
    except SystemExit as stop:
        raise DadnetError(f"a called program ended this one: {stop.code}") from stop


def one_line(text: str) -> str:
    """Return a text on one line, with no control characters for the terminal."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Return a text with ? for every character that a terminal would obey, or not show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t\xa0\u3000" else "?" for c in text)


def _verdict(error: BaseException) -> tuple[int, str]:
    """Return the status and the text of an error."""
    if isinstance(error, DadnetError):
        return BAD_INPUT, str(error)
    if isinstance(error, OutsideError):
        return INCOMPLETE, str(error)
    if isinstance(error, KeyboardInterrupt):
        return INCOMPLETE, _INTERRUPTED
    if isinstance(error, OSError) and (known := _os_verdict(error)):
        return known
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return INCOMPLETE, (
            "memory: there is not enough of it; what is finished is kept. Lower --stack, "
            "--batch-size, --input-size or --workers"
        )
    name = f"{type(error).__name__}: {error}"
    if subject := _LIBRARIES.get(type(error).__module__.partition(".")[0]):
        return INCOMPLETE, f"{subject}; what is finished is kept ({_shortened(name)})"
    return INCOMPLETE, (
        f"an error in this program, please report it: {_shortened(name)}; {_kept_traceback(error)}"
    )


def _os_verdict(error: OSError) -> tuple[int, str] | None:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        # Finished files are whole and stay; a half-written file has no final name yet.
        where = f" ({error.filename})" if error.filename else ""
        return BAD_INPUT, f"storage: {reason}{where}; what is finished is kept"
    if error.filename is not None:
        return BAD_INPUT, f"expected a file or folder that can be used: {error.filename}: {reason}"
    if error.errno is not None:
        return INCOMPLETE, f"the system refused: {reason}; what is finished is kept"
    return None


def _shortened(text: str, length: int = 300) -> str:
    line = one_line(text)
    return line if len(line) <= length else f"{line[:length]} ..."


def _kept_traceback(error: BaseException) -> str:
    """Write the traceback to a file of its own and return where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="dadnet-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError as failed:
        return f"the traceback could not be written ({failed.strerror})"
    return f"the traceback is in {file.name}"


@contextmanager
def _end_signals_interrupt() -> Iterator[None]:
    """Signals that end a process raise KeyboardInterrupt, where no program handles them.

    A signal that is ignored, as SIGHUP under nohup, stays so. Python handles signals in the main
    thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {
        number: signal.signal(number, _interrupt)
        for number in END_SIGNALS
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _end_at_once)
    }
    try:
        yield
    finally:
        for number, before in kept.items():
            # The process of a command ends now, and nothing disturbs that.
            signal.signal(number, signal.SIG_IGN if before == _end_at_once else before)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


class _SteadyOutput(io.FileIO):
    """An output that takes everything after its reader or its terminal has gone."""

    def write(self, data: Any) -> int:
        """Write, or drop the data where nobody can read them any more."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a full disk is no lost reader
                raise
        _to_nowhere(self.fileno())
        return len(data)


def _to_nowhere(number: int) -> None:
    """From now on, what is written to this descriptor is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def open_streams() -> None:
    """Make the three standard streams usable: none is closed, no output breaks the command."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = _steady(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _steady(sys.stderr, sys.__stderr__, 2)


def _steady(stream: TextIO | None, own: TextIO | None, number: int) -> TextIO:
    """Return the process's own stream as one that lasts; another one (of a notebook) as it is."""
    if stream is not None and stream is not own:
        return stream
    options: dict[str, Any] = {"encoding": "utf-8", "line_buffering": number == 2}
    if stream is not None:
        made = cast("io.TextIOWrapper", stream)
        made.flush()
        options = {
            name: getattr(made, name)
            for name in ("encoding", "errors", "line_buffering", "write_through")
        }
    if options.get("errors", "strict") == "strict":
        options["errors"] = "replace"  # a character that the terminal does not know is a "?"
    buffer = io.BufferedWriter(_SteadyOutput(number, "wb", closefd=False))
    return io.TextIOWrapper(buffer, **options)
