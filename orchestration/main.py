"""The console script `dadnet`: one verb per command."""

import ast
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from dadnet import __version__
from dadnet.base.boundary import BAD_INPUT, DONE, imported, run_command
from dadnet.base.errors import unknown
from orchestration.reporting.leave import leave

# Each verb: its module; its `Command`, which is parsed before the module is imported, where that
# takes seconds; and what it does.
_VERBS = {
    "doctor": (
        "dadnet.doctor", "dadnet.config.commands.DOCTOR",
        "what is there of a dataset against the literature",
    ),
    "ingest": (
        "orchestration.ingest", "dadnet.config.ingest.INGEST",
        "face frames or tables to a flow store",
    ),
    "teacher": (
        "orchestration.teacher", "orchestration.folds.flags.TEACHER",
        "train the frozen macro-expression teacher",
    ),
    "loso": (
        "orchestration.run_loso", "orchestration.folds.flags.LOSO",
        "run an experiment's missing folds",
    ),
    "reproduce": (
        "orchestration.reproduce", "",
        "the public recipes and baselines beside the published figures",
    ),
    "predict": (
        "dadnet.predict", "dadnet.config.commands.PREDICT", "classify clips with trained weights"
    ),
    "convert": (
        "dadnet.convert", "dadnet.config.commands.CONVERT",
        "a foreign checkpoint (.pth) to a model file",
    ),
    "export": (
        "dadnet.export", "dadnet.config.commands.EXPORT",
        "a trained model to ONNX or torch's exported program",
    ),
    "tune": (
        "orchestration.tune", "orchestration.search.flags.TUNE",
        "search hyperparameters, then score the winner once",
    ),
    "watch": (
        "orchestration.reporting.watch", "", "what runs and how far it is, from the event logs"
    ),
    "ablate": (
        "orchestration.ablate", "orchestration.folds.flags.ABLATE",
        "a grid of ablations, each tested against the base",
    ),
    "robustness": (
        "orchestration.robustness", "orchestration.folds.flags.ROBUSTNESS",
        "kept weights under corruptions of the flow",
    ),
    "explain": (
        "orchestration.explain", "orchestration.folds.flags.EXPLAIN",
        "what kept weights look at, for the run page",
    ),
    "leaderboard": ("results.__main__", "", "tables and pages from a ledger"),
    "runs": (
        "results.__main__", "", "the experiments of a ledger: name, folds, UF1, size, date"
    ),
    "rename": ("results.__main__", "", "give an experiment a name"),
    "rm": ("results.__main__", "", "remove an experiment; asks first"),
    "du": ("results.__main__", "", "how much space each experiment takes"),
    "run": ("results.__main__", "", "the page of one experiment"),
    "compare": ("results.__main__", "", "two experiments, clip by clip"),
    "leaklab": ("results.__main__", "", "what selection on the test subjects is worth"),
    "figures": ("results.__main__", "", "the plots of pages as PNG, SVG and PDF"),
    "predictions": ("results.__main__", "", "per-clip predictions as challenges ask for them"),
    "import": ("results.__main__", "", "per-clip predictions of another program into a ledger"),
    "pack": ("results.__main__", "", "complete experiments into one verified file"),
    "verify": ("results.__main__", "", "check such a file: schema, digests, audit, numbers"),
    "merge": ("results.__main__", "", "put such files, or ledgers, into a ledger"),
    "track": ("results.__main__", "", "feed TensorBoard or MLflow from a run's events"),
    "demo": ("orchestration.demo", "", "everything on synthetic faces, in minutes"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dadnet VERB ...`; returns the verb's exit status."""
    return run_command(_run_verb, argv)


def _run_verb(argv: Sequence[str]) -> int:
    words = list(argv)
    if words == ["--version"]:
        print(versions())
        return DONE
    if not words or words[0] in ("--help", "-h"):
        print("usage: dadnet VERB ... (dadnet VERB --help)", file=sys.stderr)
        for verb, (_, _, meaning) in _VERBS.items():
            print(f"  {verb:12} {meaning}", file=sys.stderr)
        return DONE if words else BAD_INPUT
    if words[0] not in _VERBS:
        raise unknown("verb", words[0], _VERBS)
    name, command, _ = _VERBS[words[0]]
    if command:  # --help and wrong words end here, before imports of seconds
        module, _, constant = command.rpartition(".")
        getattr(import_module(module), constant).parse(words[1:], _docstring(name))
    rest = words if name == "results.__main__" else words[1:]  # it has commands of its own
    status: int = imported(name).main(rest)
    return status


def versions() -> str:
    """The versions that a report of a problem needs, read without importing the packages."""
    parts = [f"dadnet {__version__}", f"Python {platform.python_version()}"]
    for package in ("torch", "ray"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} is not installed")
    return ", ".join(parts)


def _docstring(module: str) -> str | None:
    """The text of a module at its top, which is its help, without importing it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


def script() -> NoReturn:
    """Run the console script; Ctrl-C does not disturb its end."""
    leave(main())


if __name__ == "__main__":
    script()
