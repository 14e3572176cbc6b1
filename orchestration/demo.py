"""The whole way on synthetic faces: `python -m orchestration.demo` (or `make demo`).

Every step is the command that a user would type, printed before it runs, and is skipped when its
result is there. All run in this process, so that Ray starts once.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dadnet.base import cli
from orchestration.flows.synthetic_inputs import Step, input_steps, run_steps, teacher_path


@dataclass(frozen=True, kw_only=True)
class DemoFlags:
    """Where and how large."""

    out: Path = Path("demo")
    """Folder for everything that the demo makes."""
    subjects: int = 12
    """Subjects with micro-expressions: one fold each."""
    clips: int = 110
    """Micro-expression clips of all subjects together."""
    epochs: int = 20
    """Epochs of every training."""
    baselines: bool = False
    """Two baselines beside it: STSTNet by its paper's recipe, and MDMO with a linear SVM."""


def steps(flags: DemoFlags) -> list[Step]:
    """The commands of the demo, in order."""
    out, epochs = flags.out, ["--epochs", str(flags.epochs)]
    dual = ["--model-type", "dad_net", "--macro-weights", str(teacher_path(out)), *epochs]
    baselines = [
        _loso(out, "LOSO of STSTNet", ["--preset", "ststnet"]),
        _loso(out, "LOSO of MDMO and a linear SVM", ["--preset", "mdmo-svm"]),
    ]
    words = ["leaderboard", "--ledger", str(out / "runs")]
    words += ["--flows", str(out / "flows/synthetic"), "--out", str(out / "site")]
    return [
        *input_steps(out, subjects=flags.subjects, clips=flags.clips, epochs=flags.epochs),
        _loso(out, "LOSO of the dual stream", dual),
        _loso(out, "LOSO of the student alone", ["--model-type", "baseline", *epochs]),
        *(baselines if flags.baselines else []),
        Step("leaderboard", "results", words),
    ]


def _loso(out: Path, title: str, words: list[str]) -> Step:
    common = ["--flows", str(out / "flows/synthetic"), "--ledger", str(out / "runs")]
    return Step(title, "orchestration.run_loso", [*common, *words])


def run(flags: DemoFlags) -> int:
    """Run the steps until one fails; returns the exit status."""
    console, started = cli.console(), time.monotonic()
    status = run_steps(steps(flags), console)
    if status == cli.DONE:
        page = (flags.out / "site" / "index.html").absolute()
        console.print(f"done in {time.monotonic() - started:.0f} s; open {page}")
    return status


DEMO = cli.Command("python -m orchestration.demo", DemoFlags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return DEMO.run(run, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
