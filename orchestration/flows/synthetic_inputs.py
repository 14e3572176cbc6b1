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

# Side of the stored flows and of the networks' inputs, as in the study of docs/teacher.md. The
# flow of 64 x 64 is computed in a ninth of the time of 224 x 224.
FLOW_SIZE, INPUT_SIZE = 64, 32


@dataclass(frozen=True)
class Step:
    """One command, as `python -m MODULE WORDS` runs it.

    Attributes:
        title: what it does.
        module: its name; loaded when the step runs, because the commands stand above this folder.
        words: its flags.
        note: what a newcomer should know of it, in a line or two.
    """

    title: str
    module: str
    words: list[str]
    note: str = ""

    def run(self) -> int:
        """Run it in this process; returns its exit status."""
        spec = find_spec(self.module)
        is_package = spec is not None and spec.submodule_search_locations is not None
        command = import_module(f"{self.module}.__main__" if is_package else self.module)
        status: int = command.main(self.words)
        return status


def input_steps(
    out: Path,
    *,
    subjects: int = 12,
    clips: int = 110,
    epochs: int = 20,
    input_size: int = INPUT_SIZE,
) -> list[Step]:
    """The commands that make data, flows and teacher in the folder `out`.

    Subjects and clips (of all subjects together) are those with micro-expressions; the epochs and
    the input size are the teacher's.
    """
    sizes = ["--subjects", str(subjects), "--clips", str(clips)]
    macro = ["--first-subject", "101", "--subjects", "8", "--clips", "72"]
    words = ["--flows", str(out / "flows/synthetic-macro")]
    words += ["--out", str(teacher_path(out, input_size)), "--epochs", str(epochs)]
    words += ["--input-size", str(input_size)]
    return [
        _draw(out, "synthetic", ["--amplitude", "micro", *sizes], _MICRO),
        _draw(out, "synthetic-macro", ["--amplitude", "macro", *macro], _MACRO),
        _ingest(out, "synthetic", _FLOW),
        _ingest(out, "synthetic-macro", "The same for the teacher's clips."),
        Step("train the teacher", "orchestration.teacher", words, _TEACHER),
    ]


_MICRO = """Drawn subjects with micro-expressions: weak movements under head motion, flicker and
noise. Their files have the layout of CASME II."""
_MACRO = "Eight other subjects with movements four times as large, for the teacher."
_FLOW = """The input of the networks: how far each point of the face moves from the first frame
(onset) to the strongest (apex). The contact sheets show frames and flow of every clip."""
_TEACHER = """The teacher learns the three classes from the large movements. From here on it is
frozen; the subjects that it saw are never tested."""


def teacher_path(out: Path, input_size: int = INPUT_SIZE) -> Path:
    """Path of the weights of the teacher with this input size."""
    size = "" if input_size == INPUT_SIZE else f"-{input_size}"
    return out / f"teacher{size}.safetensors"


def run_steps(steps: Sequence[Step], console: Console) -> int:
    """Run commands until one fails; returns the first exit status that is not 0, else 0."""
    for step in steps:
        started = time.monotonic()
        console.rule(step.title, align="left")
        if step.note:
            console.print(step.note, markup=False, highlight=False)
        command = f"python -m {step.module} {shlex.join(step.words)}"
        console.print(f"$ {command}", markup=False)
        status = step.run()
        console.print(f"[dim]{time.monotonic() - started:.0f} s[/dim]")
        if status != cli.DONE:
            return status
    return cli.DONE


def _draw(out: Path, name: str, words: list[str], note: str) -> Step:
    words = ["--out", str(out / "data" / name), *words]
    return Step(f"draw the faces of {name}", "dadnet.datasets.synthetic", words, note)


def _ingest(out: Path, name: str, note: str) -> Step:
    words = ["--dataset", name, "--root", str(out / "data" / name), "--size", str(FLOW_SIZE)]
    words += ["--out", str(out / "flows" / name), "--preview"]
    return Step(f"optical flow of {name}", "orchestration.ingest", words, note)
