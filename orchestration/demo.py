"""The whole way on synthetic faces: `python -m orchestration.demo` (or `make demo`).

Every step is the command that a user would type, printed before it runs, and is skipped when its
result is there. All run in this process, so that Ray starts once.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dadnet.base import cli
from orchestration.flows.synthetic_inputs import (
    INPUT_SIZE,
    Step,
    input_steps,
    run_steps,
    teacher_path,
)

if TYPE_CHECKING:
    from results.leaderboard.rows import Row


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
    # Six folds as one program: half of the time, the same numbers.
    sizes = [*epochs, "--input-size", str(INPUT_SIZE), "--stack", "6"]
    dual = ["--model-type", "dad_net", "--macro-weights", str(teacher_path(out)), *sizes]
    student = ["--model-type", "baseline", *sizes]
    baselines = [
        _loso(out, "LOSO of STSTNet", ["--preset", "ststnet", "--stack", "6"]),
        _loso(out, "LOSO of MDMO and a linear SVM", ["--preset", "mdmo-svm"]),
    ]
    words = ["leaderboard", "--ledger", str(out / "runs")]
    words += ["--flows", str(out / "flows/synthetic"), "--out", str(out / "site")]
    return [
        *input_steps(out, subjects=flags.subjects, clips=flags.clips, epochs=flags.epochs),
        _loso(out, "LOSO of the dual stream", dual, _FOLDS),
        _loso(out, "LOSO of the student alone", student, "The same student, without the teacher."),
        *(baselines if flags.baselines else []),
        _loso(out, "control: LOSO with shuffled labels", [*dual, "--shuffle-labels"], _CONTROL),
        Step("leaderboard", "results", words, _BOARD),
    ]


_FOLDS = """One fold per subject (a person), who is the test once. Of the others, some choose the
epoch and the rest are trained on. The audit looks for leaks before the first epoch."""
_CONTROL = "Nothing can be learnt from shuffled labels. A score above chance would show a leak."
_BOARD = """UF1 is the mean F1 of the classes over all folds, with its 95 % interval over subjects.
Rows that share a letter cannot be told apart on these data."""


def _loso(out: Path, title: str, words: list[str], note: str = "") -> Step:
    ledger = out / ("shuffled" if "--shuffle-labels" in words else "runs")
    common = ["--flows", str(out / "flows/synthetic"), "--ledger", str(ledger)]
    return Step(title, "orchestration.run_loso", [*common, *words], note)


def guide(out: Path) -> str:
    """What the folder of a finished demo holds, what it shows, and why it can be trusted."""
    from results.pages.compare import checked_difference
    from results.statistics.compare import Comparison

    dual, student = _row(out / "runs", "DAD-Net"), _row(out / "runs", "MicroFlowNeXt")
    control = _row(out / "shuffled", "DAD-Net")
    lines = [
        "Open these pages:",
        f"  frames and flow: {out / 'flows/synthetic/preview/index.html'}",
        f"  the teacher's clips: {out / 'flows/synthetic-macro/preview/index.html'}",
        f"  leaderboard: {out / 'site/index.html'}; a row leads to its folds, subject by subject",
        "What it shows:",
    ]
    if dual is not None and student is not None:
        gap = checked_difference(dual, student)
        lines.append(f"  {Comparison.of('DAD-Net', 'its student alone', gap)}")
    lines += [
        *(f"  {line}" for line in STUDY),
        "Why the numbers can be trusted:",
        "  the audit found no subject on two sides of a fold, and none that the teacher saw",
        "  the labels of the test subject choose nothing: other subjects choose the epoch",
    ]
    if control is not None and control.summary is not None:
        uf1 = control.summary.uf1.value
        lines.append(f"  with shuffled labels UF1 is {uf1:.3f}; chance is about 0.33")
    lines.append("  given again, this command computes nothing twice and writes the same pages")
    return "\n".join(lines)


# What the study of docs/teacher.md found; a test compares it with the figures.
STUDY = (
    "on 10 other sets of this setting the teacher does not help: DAD-Net minus its student alone",
    "is -0.007, 95 % interval -0.045 to +0.032, Holm p 1.000 (docs/teacher.md).",
)


def _row(ledger: Path, method: str) -> "Row | None":
    """The complete row of a method; None where there are several, of other settings."""
    from results.leaderboard.ranking import leaderboard  # pandas and templates: not for --help

    rows = [row for group in leaderboard(ledger).groups for row in group.rows]
    found = [row for row in rows if row.experiment.method.startswith(method) and row.complete]
    return found[0] if len(found) == 1 else None


def run(flags: DemoFlags) -> int:
    """Run the steps until one fails; returns the exit status."""
    console, started = cli.console(), time.monotonic()
    status = run_steps(steps(flags), console)
    if status == cli.DONE:
        console.rule("what you have", align="left")
        console.print(guide(flags.out), markup=False, highlight=False, soft_wrap=True)
        page = (flags.out / "site" / "index.html").absolute()
        console.print(f"done in {time.monotonic() - started:.0f} s; open {page}")
    return status


DEMO = cli.Command("python -m orchestration.demo", DemoFlags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return DEMO.run(run, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
