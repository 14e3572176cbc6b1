"""Make the golden files: `python -m tests.golden.make [all|exports|presets|training]`.

All is made by the code of the tree that it runs in: look at the difference before you keep it.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from results.ledger import Ledger
from tests.golden.test_golden import HERE, export, outcome, preset_digests, site, train

ALONE = ["--model-type", "baseline"]


def make_ledger(folder: Path) -> None:
    """A finished ledger of four experiments; its records say nothing of the machine."""
    for more in ([], ALONE, ["--preset", "ststnet", "--epochs", "30"], ["--preset", "mdmo-svm"]):
        train(folder, folder / "runs", *more)
    old, new = Ledger(folder / "runs"), Ledger(HERE / "ledger")
    shutil.rmtree(HERE / "ledger", ignore_errors=True)
    for experiment in old.experiments():
        new.open(experiment)
        for record in old.records(experiment):
            new.put(experiment, replace(record, host={}))


def main(what: str) -> None:
    """Make all or some of the golden files."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if what in ("all", "training"):
            site(folder)
            found = {}
            for stack in ("1", "3"):
                train(folder, folder / stack, "--stack", stack)
                found[f"stack {stack}"] = outcome(folder / stack)
            (HERE / "training.json").write_text(json.dumps(found, indent=1) + "\n")
        if what == "all":
            make_ledger(folder)
    if what in ("all", "exports"):
        export(HERE / "ledger", HERE / "exports")
    if what in ("all", "presets"):
        (HERE / "presets.json").write_text(json.dumps(preset_digests(), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "all")
