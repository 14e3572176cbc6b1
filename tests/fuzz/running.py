"""One input through the boundary of a command: what must never come of it, counted."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

LIMIT_S = 20
_UNEXPECTED = "an error in this program"


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        name: of the kind.
        inputs: strategy of the inputs.
        prepare: makes what is valid in a folder, once.
        run: uses one input in that folder through `run_command`; returns the exit status.
    """

    name: str
    inputs: SearchStrategy[Any]
    prepare: Callable[[Path], Any]
    run: Callable[[Path, Any, Any], int]


@dataclass
class Counts:
    """What came of the inputs of a target."""

    inputs: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    outside: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Inputs of which something came that must not."""
        return self.tracebacks + self.hangs + self.outside


class HangError(BaseException):
    """An input took longer than `LIMIT_S`; no clause of a command may catch it."""


def fuzz(target: Target, root: Path, inputs: int, start: int = 0) -> Counts:
    """Run so many inputs of a target below a folder; the same `start` gives the same inputs."""
    counts, folder = Counts(), root / "inside"
    for name in ("inside", "home", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "canary").write_text("untouched")
    with _surroundings(root):
        valid = target.prepare(folder)
        before = _names(root)
        for number in range(start, start + 50):
            left = inputs - counts.inputs
            if left > 0:
                _generate(
                    target, left, number, lambda given: _one(target, root, valid, given, counts)
                )
        if (made := _names(root)) != before or (root / "canary").read_text() != "untouched":
            counts.outside += len(made ^ before) or 1
            counts.examples.append(f"outside: {sorted(made ^ before)[:5]}")
    return counts


def _generate(target: Target, number: int, start: int, use: Callable[[Any], None]) -> None:
    @seed(start)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def run(given: Any) -> None:
        use(given)

    run()


def _one(target: Target, root: Path, valid: Any, given: Any, counts: Counts) -> None:
    counts.inputs += 1
    errors, kind = io.StringIO(), ""
    try:
        with (
            contextlib.redirect_stderr(errors),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            _limited(),
        ):
            warnings.simplefilter("ignore")
            status = target.run(root / "inside", valid, given)
        kind = "" if status in (0, 2, 3) and _UNEXPECTED not in errors.getvalue() else "traceback"
        counts.refused += status == 2
    except HangError:
        kind = "hang"
    except SystemExit as stop:
        kind = "" if stop.code in (0, None) else "traceback"
    except BaseException as error:
        kind, errors = "traceback", io.StringIO(f"{type(error).__name__}: {error}")
    counts.tracebacks += kind == "traceback"
    counts.hangs += kind == "hang"
    if kind:
        last = errors.getvalue().strip()[-400:]
        counts.examples.append(f"{kind}: {str(given)[:300]}: {last}")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def over(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _surroundings(root: Path) -> Iterator[None]:
    """Work in the folder, with a home and a folder for temporary files of its own."""
    kept, here = dict(os.environ), Path.cwd()
    os.environ.update(HOME=str(root / "home"), TMPDIR=str(root / "tmp"))
    tempfile.tempdir = None  # it is read once
    os.chdir(root / "inside")
    try:
        yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(kept)
        tempfile.tempdir = None


def _names(root: Path) -> set[str]:
    own = ("inside", "home", "tmp")
    return {str(path) for path in (*root.iterdir(), *root.parent.iterdir()) if path.name not in own}
