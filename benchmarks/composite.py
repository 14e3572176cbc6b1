"""The composite of the Micro-Expressions Grand Challenge 2019 by shape: 68 folds, 442 clips.

`python -m benchmarks.composite --json benchmarks/results/composite.json`. Flows are noise;
subjects and classes are those of the published log. Micro student, ultralight teacher, batch 8, 100
epochs, the command `run_loso --stack auto`: seconds of the command, and of its folds. Meant for a
GPU, where it takes minutes; `--subjects 8 --epochs 3` is a short version for other machines.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.coverage import CLASSES, LABELS
from benchmarks.fold_step import teacher
from benchmarks.loso import EMOTIONS, span, write_noise
from results.ledger.ledger import Ledger

DATASETS = ("casme2", "samm", "smic")


def write_stores(folder: Path, subjects: int, size: int) -> int:
    """Write a store of noise for each dataset; return the number of clips."""
    with LABELS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Some of the subjects of all datasets, where not all are wanted.
    names = sorted({(row["subject"], row["dataset"]) for row in rows})[:: 68 // subjects]
    kept = [row for row in rows if (row["subject"], row["dataset"]) in set(names[:subjects])]
    emotion = dict(zip(CLASSES, EMOTIONS, strict=True))
    for dataset in DATASETS:
        mine = [row for row in kept if row["dataset"] == dataset]
        of, emotions = [row["subject"] for row in mine], [emotion[row["label"]] for row in mine]
        write_noise(folder / dataset, dataset, of, emotions, size)
    return len(kept)


def one_size(size: int, subjects: int, epochs: int, stack: str) -> dict[str, Any]:
    """Write the inputs of one size, and run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_stores(folder, subjects, size)
        teacher(size).save(folder / "teacher.safetensors")
        stores = ",".join(str(folder / dataset) for dataset in DATASETS)
        words = (
            f"--dataset megc2019 --protocol cde --flows {stores} --ledger {folder}/runs "
            f"--macro-weights {folder}/teacher.safetensors --micro-size micro --batch-size 8 "
            f"--macro-size ultralight --input-size {size} --epochs {epochs} --stack {stack} "
            f"--augmentation hflip --warmup-epochs 0"
        )
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "orchestration.run_loso", *words.split()], check=True)
        wall_s = time.perf_counter() - started
        since, until = span(folder / "runs")
        ledger = Ledger(folder / "runs")
        [experiment] = ledger.experiments()
        seen = epochs * sum(clips - fold.num_test_clips for fold in experiment.folds)
        records = ledger.records(experiment)
        return {
            "input_size": size,
            "folds": len(records),
            "clips": clips,
            "epochs": epochs,
            "device": str(records[0].host["device"]),
            "stack": records[0].host["stack"],
            "wall_s": wall_s,
            "folds_s": until - since,
            "clips_per_s": seen / (until - since),
        }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--subjects", type=int, default=68)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--stack", default="auto")
    given = parser.parse_args()
    rows = [one_size(s, given.subjects, given.epochs, given.stack) for s in given.sizes]
    report("composite", rows, given.json)


if __name__ == "__main__":
    main()
