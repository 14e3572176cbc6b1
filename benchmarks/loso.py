"""Folds per hour, end to end: an ordinary sequential script against `run_loso`.

`python -m benchmarks.loso --json benchmarks/results/loso.json`. 24 subjects, input 56, both as
commands of their own, start-up included. The ordinary script uses all cores, as torch does.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.common import arguments, report
from benchmarks.fold_step import teacher
from benchmarks.ordinary import OrdinaryFold
from dadnet.clips import MicroExpressionDataset
from dadnet.config import DataConfig
from dadnet.flow_store import (
    FLOW_FILE,
    flow_digest,
    flow_table,
    load_flow_store,
    store_digest,
    write_card,
    write_flow_file,
)
from dadnet.presets import get_preset
from dadnet.teacher import Teacher

SUBJECTS, CLIPS_EACH, SIZE, EPOCHS = 24, 6, 56, 20
EMOTIONS = ("disgust", "happiness", "surprise")


def write_inputs(folder: Path) -> None:
    """A flow store of noise, and an untrained teacher: only the time matters here."""
    rng = np.random.default_rng(0)
    number = SUBJECTS * CLIPS_EACH
    flows = rng.normal(size=(number, 2, SIZE, SIZE)).astype(np.float16)
    subject = [f"synthetic/s{i // CLIPS_EACH:02d}" for i in range(number)]
    clips = pd.DataFrame(
        {
            "clip_id": [f"{s}/c{i}" for i, s in enumerate(subject)],
            "dataset": "synthetic",
            "subject": subject,
            "filename": "c",
            "onset": 1,
            "apex": 2,
            "offset": 3,
            "emotion": [EMOTIONS[i % 3] for i in range(number)],
            "action_units": "",
            "part": "",
            "flow_digest": [flow_digest(flow) for flow in flows],
        }
    )
    store = folder / "flows"
    store.mkdir()
    write_flow_file(store / FLOW_FILE, [flow_table(clips, flows)])
    card = {"digest": store_digest(clips, "none"), "files": [FLOW_FILE]}
    write_card(store, {**card, "parameters": {"normalisation": "none"}})
    teacher(SIZE).save(folder / "teacher.safetensors")


def ordinary_script(folder: Path) -> None:
    """Train every fold in turn and predict its test subject."""
    config = get_preset("smoke", DataConfig())
    dataset = MicroExpressionDataset.from_store(load_flow_store(folder / "flows"), "3class", SIZE)
    frozen = Teacher.load(folder / "teacher.safetensors")
    right = 0
    for subject in sorted(set(dataset.clips["subject"])):
        test = torch.from_numpy((dataset.clips["subject"] == subject).to_numpy())
        # A fifth of the training clips is for validation, as in the engine.
        rows = torch.nonzero(~test).flatten()
        fit, val = rows[: len(rows) * 4 // 5], rows[len(rows) * 4 // 5 :]
        fold = OrdinaryFold(config, dataset.flows[fit], dataset.labels[fit], frozen)
        for _ in range(EPOCHS):
            fold.epoch()
            fold.predict(dataset.flows[val])
        right += int((fold.predict(dataset.flows[test]) == dataset.labels[test]).sum())
    print(f"{right} of {len(dataset)} right")


def engine_command(folder: Path, ledger: Path) -> list[str]:
    """The same work as a user's command."""
    words = f"--flows {folder}/flows --ledger {ledger} --epochs {EPOCHS}".split()
    words += ["--macro-weights", f"{folder}/teacher.safetensors"]
    return [sys.executable, "-m", "orchestration.run_loso", *words]


def seconds_of(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--ordinary"]:
        ordinary_script(Path(sys.argv[2]))
        return
    given = arguments(__doc__, repeats=3)
    ordinary: list[float] = []
    engine: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        for number in range(given.repeats):
            script = [sys.executable, "-m", "benchmarks.loso", "--ordinary", str(folder)]
            ordinary.append(seconds_of(script))
            engine.append(seconds_of(engine_command(folder, folder / f"runs{number}")))
    rows = []
    for way, seconds in (("ordinary", ordinary), ("run_loso", engine)):
        median = float(np.median(seconds))
        per_hour = SUBJECTS * 3600 / median
        rows.append({"way": way, "median_s": median, "folds_per_hour": per_hour, "all_s": seconds})
    ratio = float(np.median(ordinary) / np.median(engine))
    report("loso", [*rows, {"ratio": ratio}], given.json)


if __name__ == "__main__":
    main()
