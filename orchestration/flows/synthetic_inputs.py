"""The synthetic set's flows and teacher: the inputs of the demo and of a run without `--flows`.

Every step is the command that a user would type, printed before it runs, and is skipped when its
result is there.
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from dadnet.base import cli


@dataclass(frozen=True)
class Step:
    """One command, as `python -m MODULE WORDS` runs it.

    Attributes:
        title: what it does.
        module: its name; loaded when the step runs, because the commands stand above this folder.
        words: its flags.
    """

    title: str
    module: str
    words: list[str]

    def run(self) -> int:
        """Run it in this process; returns its exit status."""
        spec = find_spec(self.module)
        is_package = spec is not None and spec.submodule_search_locations is not None
        command = import_module(f"{self.module}.__main__" if is_package else self.module)
        status: int = command.main(self.words)
        return status


def input_steps(out: Path, *, subjects: int = 12, clips: int = 110, epochs: int = 20) -> list[Step]:
    """The commands that make data, flows and teacher in the folder `out`.

    Subjects and clips (of all subjects together) are those with micro-expressions; the epochs are
    the teacher's.
    """
    sizes = ["--subjects", str(subjects), "--clips", str(clips)]
    macro = ["--first-subject", "101", "--subjects", "8", "--clips", "72"]
    title = "train the teacher on the macro-expressions"
    words = ["--flows", str(out / "flows/synthetic-macro")]
    words += ["--out", str(teacher_path(out)), "--epochs", str(epochs)]
    return [
        _draw(out, "synthetic", ["--amplitude", "micro", *sizes]),
        _draw(out, "synthetic-macro", ["--amplitude", "macro", *macro]),
        _ingest(out, "synthetic"),
        _ingest(out, "synthetic-macro"),
        Step(title, "orchestration.teacher", words),
    ]


def teacher_path(out: Path) -> Path:
    """Path of the teacher's weights."""
    return out / "teacher.safetensors"


def run_steps(steps: Sequence[Step], console: Console) -> int:
    """Run commands until one fails; returns the first exit status that is not 0, else 0."""
    for step in steps:
        started = time.monotonic()
        console.rule(step.title, align="left")
        command = f"python -m {step.module} {shlex.join(step.words)}"
        console.print(f"$ {command}", markup=False)
        status = step.run()
        console.print(f"[dim]{time.monotonic() - started:.0f} s[/dim]")
        if status != cli.DONE:
            return status
    return cli.DONE


def _draw(out: Path, name: str, words: list[str]) -> Step:
    words = ["--out", str(out / "data" / name), *words]
    return Step(f"draw the faces of {name}", "dadnet.datasets.synthetic", words)


def _ingest(out: Path, name: str) -> Step:
    # Flow of 112 x 112 is enough for inputs of 56 and four times as fast as at 224.
    words = ["--dataset", name, "--root", str(out / "data" / name), "--size", "112"]
    words += ["--out", str(out / "flows" / name)]
    return Step(f"optical flow of {name}", "orchestration.ingest", words)
