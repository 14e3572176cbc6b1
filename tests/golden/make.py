"""Make the golden files: `python -m tests.golden.make [all|exports|presets|training]`.

All is made by the code of the tree that it runs in: look at the difference before you keep it.
"""

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import results.__main__
from dadnet.config.experiment import DataConfig, experiment_digest
from dadnet.config.presets import PRESETS, get_preset
from orchestration import run_loso, teacher
from results.ledger.ledger import Ledger
from tests.build.flows import make_clips, write_store

HERE = Path(__file__).parent
ALONE = ["--model-type", "baseline"]


def site(folder: Path) -> Path:
    """Flows of 5 subjects and a teacher of other subjects, in a folder that holds neither yet."""
    write_store(folder / "flows", make_clips(5, 6))
    macro = write_store(folder / "macro", make_clips(4, 6, "synthetic-macro"), seed=1)
    words = ["--flows", str(macro), "--out", str(folder / "teacher.safetensors")]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "4"]) == 0
    return folder


def train(folder: Path, ledger: Path, *more: str) -> None:
    """Run an experiment on a site; the flags may win over those of the short dual stream."""
    words = ["--flows", str(folder / "flows"), "--ledger", str(ledger), "--workers", "0"]
    short = ["--input-size", "32", "--epochs", "6"]
    dual = ["--macro-weights", str(folder / "teacher.safetensors"), "--num-projections", "8"]
    own = [] if "--preset" in more else short if "baseline" in more else [*short, *dual]
    assert run_loso.main([*words, *own, "--keep-features", "none", *more]) == 0


def outcome(ledger: Path) -> dict[str, Any]:
    """What the folds of the only experiment of a ledger came to."""
    [experiment] = Ledger(ledger).experiments()
    return {
        record.fold: {
            "chosen_epoch": record.chosen_epoch,
            "clips": {p.clip_id: [p.prediction, *p.probabilities] for p in record.predictions},
        }
        for record in Ledger(ledger).records(experiment)
    }


def export(ledger: Path, out: Path) -> None:
    """Write the leaderboard of a ledger as csv, json, md and tex."""
    words = ["--ledger", str(ledger), "--out", str(out), "--format", "csv,json,markdown,latex"]
    assert results.__main__.main(["leaderboard", *words, "--run-pages", "0"]) == 0
    (out / ".stamp.json").unlink(missing_ok=True)


def preset_digests() -> dict[str, str]:
    """The digest of each preset on made-up inputs, also where it depends on dataset and classes."""
    found = {}
    for name in PRESETS:
        for dataset, classes in (("casme2", "3class"), ("fourdme", "3class"), ("dfme", "7class")):
            config = get_preset(name, DataConfig(dataset=dataset, class_set=classes))
            digest = experiment_digest(config, "00112233aabbccdd", "ddccbbaa33221100")
            found[f"{name} {dataset} {classes}"] = digest
    return found


def make_ledger(folder: Path) -> None:
    """A finished ledger of four experiments; its records say nothing of the machine."""
    for more in ([], ALONE, ["--preset", "ststnet", "--epochs", "30"], ["--preset", "mdmo-svm"]):
        train(folder, folder / "runs", *more)
    old, new = Ledger(folder / "runs"), Ledger(HERE / "ledger")
    shutil.rmtree(HERE / "ledger", ignore_errors=True)
    for experiment in old.experiments():
        new.open(experiment)
        for record in old.records(experiment):
            new.put(experiment, record.replace(host={}))


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
