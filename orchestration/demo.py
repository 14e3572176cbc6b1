"""The whole way on synthetic faces: `python -m orchestration.demo` (or `make demo`).

Every step is the command that a user would type, printed before it runs, and is skipped when its
result is there. All run in this process, so that Ray starts once.
"""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import results.__main__
from dadnet.datasets import synthetic
from orchestration import cli, ingest, run_loso, teacher

Main = Callable[[Sequence[str]], int]


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
    """Two rivals beside it: STSTNet by its paper's recipe, and MDMO with a linear SVM."""


@dataclass(frozen=True)
class Step:
    """One command of the demo."""

    title: str
    module: str
    main: Main
    words: list[str]


def steps(flags: DemoFlags) -> list[Step]:
    """The commands of the demo, in order."""
    out = flags.out
    weights = ["--macro-weights", str(out / "teacher.safetensors")]
    epochs = ["--epochs", str(flags.epochs)]
    rivals = [
        _loso(out, "LOSO of STSTNet", ["--preset", "ststnet"]),
        _loso(out, "LOSO of MDMO and a linear SVM", ["--preset", "mdmo-svm"]),
    ]
    sizes = ["--subjects", str(flags.subjects), "--clips", str(flags.clips)]
    ledger, site = ["--ledger", str(out / "runs")], str(out / "site")
    macro = ["--first-subject", "101", "--subjects", "8", "--clips", "72"]
    return [
        _draw(out, "synthetic", ["--amplitude", "micro", *sizes]),
        _draw(out, "synthetic-macro", ["--amplitude", "macro", *macro]),
        _ingest(out, "synthetic"),
        _ingest(out, "synthetic-macro"),
        Step(
            "train the teacher on the macro-expressions",
            "orchestration.teacher",
            teacher.main,
            ["--flows", str(out / "flows/synthetic-macro"), "--out", weights[1], *epochs],
        ),
        _loso(out, "LOSO of the dual stream", ["--model-type", "dad_net", *weights, *epochs]),
        _loso(out, "LOSO of the student alone", ["--model-type", "baseline", *epochs]),
        *(rivals if flags.baselines else []),
        Step(
            "leaderboard",
            "results",
            results.__main__.main,
            ["leaderboard", *ledger, "--flows", str(out / "flows/synthetic"), "--out", site],
        ),
    ]


def _draw(out: Path, name: str, words: list[str]) -> Step:
    return Step(
        f"draw the faces of {name}",
        "dadnet.datasets.synthetic",
        synthetic.main,
        ["--out", str(out / "data" / name), *words],
    )


def _ingest(out: Path, name: str) -> Step:
    # Flow of 112 x 112 is enough for inputs of 56 and four times as fast as at 224.
    words = ["--dataset", name, "--root", str(out / "data" / name), "--size", "112", "--out"]
    return Step(
        f"optical flow of {name}",
        "orchestration.ingest",
        ingest.main,
        [*words, str(out / "flows" / name)],
    )


def _loso(out: Path, title: str, words: list[str]) -> Step:
    common = ["--flows", str(out / "flows/synthetic"), "--ledger", str(out / "runs")]
    return Step(title, "orchestration.run_loso", run_loso.main, [*common, *words])


def run_steps(chosen: Sequence[Step], console: Console) -> int:
    """Run commands until one fails; gives the first exit status that is not 0, else 0."""
    for step in chosen:
        started = time.monotonic()
        console.rule(step.title, align="left")
        command = f"python -m {step.module} {shlex.join(step.words)}"
        console.print(f"$ {command}", markup=False)
        status = step.main(step.words)
        console.print(f"[dim]{time.monotonic() - started:.0f} s[/dim]")
        if status != cli.DONE:
            return status
    return cli.DONE


def prepare_synthetic(out: Path, console: Console) -> int:
    """Make the flows and the teacher of the synthetic set, without any run."""
    return run_steps(steps(DemoFlags(out=out))[:5], console)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""

    def command(words: Sequence[str]) -> int:
        flags = cli.parse(
            DemoFlags, words, prog="python -m orchestration.demo", description=__doc__ or ""
        )
        console, started = cli.console(), time.monotonic()
        status = run_steps(steps(flags), console)
        if status == cli.DONE:
            page = (flags.out / "site" / "index.html").absolute()
            console.print(f"done in {time.monotonic() - started:.0f} s; open {page}")
        return status

    return cli.run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
