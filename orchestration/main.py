"""The console script `dadnet`: one verb per command."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from dadnet.base.boundary import imported, run_command
from orchestration.reporting.leave import leave

_VERBS = {
    "doctor": ("dadnet.doctor", "what is there of a dataset against the literature"),
    "ingest": ("orchestration.ingest", "face frames or tables to a flow store"),
    "teacher": ("orchestration.teacher", "train the frozen macro-expression teacher"),
    "loso": ("orchestration.run_loso", "run an experiment's missing folds"),
    "predict": ("dadnet.predict", "classify clips with trained weights"),
    "convert": ("dadnet.convert", "a foreign checkpoint (.pth) to a model file"),
    "export": ("dadnet.export", "a trained model to ONNX or torch's exported program"),
    "tune": ("orchestration.tune", "search hyperparameters, then score the winner once"),
    "watch": ("orchestration.watch", "what runs and how far it is, from the event logs"),
    "ablate": ("orchestration.ablate", "a grid of ablations, each tested against the base"),
    "robustness": ("orchestration.robustness", "kept weights under corruptions of the flow"),
    "explain": ("orchestration.explain", "what kept weights look at, for the run page"),
    "leaderboard": ("results.__main__", "tables and pages from a ledger"),
    "runs": ("results.__main__", "the experiments of a ledger: name, folds, UF1, size, date"),
    "rename": ("results.__main__", "give an experiment a name"),
    "rm": ("results.__main__", "remove an experiment; asks first"),
    "du": ("results.__main__", "how much space each experiment takes"),
    "run": ("results.__main__", "the page of one experiment"),
    "compare": ("results.__main__", "two experiments, clip by clip"),
    "leaklab": ("results.__main__", "what selection on the test subjects is worth"),
    "figures": ("results.__main__", "the plots of pages as PNG, SVG and PDF"),
    "predictions": ("results.__main__", "per-clip predictions as challenges ask for them"),
    "import": ("results.__main__", "per-clip predictions of another program into a ledger"),
    "pack": ("results.__main__", "complete experiments into one verified file"),
    "verify": ("results.__main__", "check such a file: schema, digests, audit, numbers"),
    "merge": ("results.__main__", "put such files, or ledgers, into a ledger"),
    "track": ("results.__main__", "feed TensorBoard or MLflow from a run's events"),
    "demo": ("orchestration.demo", "everything on synthetic faces, in minutes"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dadnet VERB ...`; returns the verb's exit status."""
    return run_command(_run_verb, argv)


def _run_verb(argv: Sequence[str]) -> int:
    words = list(argv)
    if not words or words[0] not in _VERBS:
        print("usage: dadnet VERB ... (dadnet VERB --help)", file=sys.stderr)
        for verb, (_, meaning) in _VERBS.items():
            print(f"  {verb:12} {meaning}", file=sys.stderr)
        return 0 if words in (["--help"], ["-h"]) else 2
    name = _VERBS[words[0]][0]
    module = imported(name)
    rest = words if name == "results.__main__" else words[1:]  # it has commands of its own
    status: int = module.main(rest)
    return status


def script() -> NoReturn:
    """Run the console script; Ctrl-C does not disturb its end."""
    leave(main())


if __name__ == "__main__":
    script()
