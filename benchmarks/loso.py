"""Folds per hour, end to end: plain scripts against `run_loso`.

`python -m benchmarks.loso --json benchmarks/results/loso.json`. 24 subjects, input 56, the recipe
`smoke` (`--short`: half of its epochs, so that the start-up counts twice as much). Each way is a
separate command, with its start-up: the strongest plain way (one process per core for the whole
run, one thread each, batched augmentation, fused AdamW), to which the ratios refer; the ordinary
script on all cores (torch's default); the same with one process per fold; `run_loso` with one fold
at a time per worker, and with stacks. For `run_loso` the overhead is reported too: seconds outside
the folds, and the fraction of time in which workers are idle. `--lean` measures only the strongest
plain way and stacks. The machine must be quiet: a load above 1 is refused.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.common import arguments, quiet, report
from benchmarks.fold_step import teacher
from benchmarks.ordinary import OrdinaryFold, StrongFold
from dadnet.config.experiment import DataConfig
from dadnet.config.presets import get_preset
from dadnet.flow.store import (
    FLOW_FILE,
    flow_digest,
    flow_table,
    load_flow_store,
    store_digest,
    write_card,
    write_flow_file,
)
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.training.teacher import Teacher
from results.ledger.ledger import Ledger

SUBJECTS, CLIPS_EACH, SIZE = 24, 6, 56
EPOCHS = get_preset("smoke", DataConfig()).optim.epochs
Way = Callable[[int], object]
EMOTIONS = ("disgust", "happiness", "surprise")


def write_inputs(
    folder: Path, subjects: int = SUBJECTS, clips_each: int = CLIPS_EACH, size: int = SIZE
) -> None:
    """A flow store of noise and an untrained teacher: only the time matters."""
    number = subjects * clips_each
    subject = [f"s{i // clips_each:02d}" for i in range(number)]
    emotions = [EMOTIONS[i % 3] for i in range(number)]
    write_noise(folder / "flows", "synthetic", subject, emotions, size)
    teacher(size).save(folder / "teacher.safetensors")


def write_noise(
    store: Path, dataset: str, subjects: Sequence[str], emotions: Sequence[str], size: int
) -> None:
    """Write a flow store of noise; return subject and emotion of each clip."""
    rng = np.random.default_rng(list(dataset.encode()))  # the audit knows equal flows
    number = len(subjects)
    flows = rng.normal(size=(number, 2, size, size)).astype(np.float16)
    clips = pd.DataFrame(
        {
            "clip_id": [f"{dataset}/{s}/c{i}" for i, s in enumerate(subjects)],
            "dataset": dataset,
            "subject": [f"{dataset}/{s}" for s in subjects],
            "filename": "c",
            "onset": 1,
            "apex": 2,
            "offset": 3,
            "emotion": emotions,
            "action_units": "",
            "part": "",
            "flow_digest": [flow_digest(flow) for flow in flows],
        }
    )
    store.mkdir()
    write_flow_file(store / FLOW_FILE, [flow_table(clips, flows)])
    card = {"digest": store_digest(clips, "none"), "files": [FLOW_FILE]}
    write_card(store, {**card, "parameters": {"normalisation": "none"}})


def plain_folds(
    folder: Path, epochs: int, numbers: list[int], fold_type: type[OrdinaryFold]
) -> None:
    """Train these folds in turn (default: all) and predict their test subjects."""
    config = get_preset("smoke", DataConfig())
    dataset = MicroExpressionDataset.from_store(load_flow_store(folder / "flows"), "3class", SIZE)
    frozen = Teacher.load(folder / "teacher.safetensors")
    right = 0
    subjects = sorted(set(dataset.clips["subject"]))
    for subject in [subjects[k] for k in numbers] or subjects:
        test = torch.tensor((dataset.clips["subject"] == subject).to_numpy())
        # A fifth of the training clips is for validation, as in the engine.
        rows = torch.nonzero(~test).flatten()
        fit, val = rows[: len(rows) * 4 // 5], rows[len(rows) * 4 // 5 :]
        fold = fold_type(config, dataset.flows[fit], dataset.labels[fit], frozen)
        for _ in range(epochs):
            fold.epoch()
            fold.predict(dataset.flows[val])
        right += int((fold.predict(dataset.flows[test]) == dataset.labels[test]).sum())
    print(f"{right} of {len(dataset)} right")


def plain_command(way: str, folder: Path, epochs: int) -> list[str]:
    """The command of a plain script, for all folds or for those with these numbers."""
    return [sys.executable, "-m", "benchmarks.loso", "--fold", way, str(folder), str(epochs)]


def in_processes(commands: list[list[str]]) -> None:
    """Run one-thread processes, as many at a time as there are cores."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        calls = [
            pool.submit(subprocess.run, command, check=True, env=one_thread) for command in commands
        ]
    for call in calls:
        call.result()


def process_per_fold(folder: Path, epochs: int) -> None:
    """Run each fold of the ordinary script in a separate process."""
    command = plain_command("ordinary", folder, epochs)
    in_processes([[*command, str(k)] for k in range(SUBJECTS)])


def strong_pool(folder: Path, epochs: int) -> None:
    """The strongest plain way: one process per core for the whole run, each with its folds."""
    command, cores = plain_command("strong", folder, epochs), os.cpu_count() or 1
    in_processes([[*command, *map(str, range(i, SUBJECTS, cores))] for i in range(cores)])


def engine_command(folder: Path, epochs: int, ledger: Path, stack: str) -> list[str]:
    """The same work as a user's command."""
    words = f"--flows {folder}/flows --ledger {ledger} --epochs {epochs} --stack {stack}".split()
    words += ["--macro-weights", f"{folder}/teacher.safetensors"]
    return [sys.executable, "-m", "orchestration.run_loso", *words]


def span(ledger: Path) -> tuple[float, float]:
    """When the first fold of a run began and the last one ended, seconds since the epoch."""
    [experiment] = Ledger(ledger).experiments()
    hosts = [record.host for record in Ledger(ledger).records(experiment)]
    since = [datetime.fromisoformat(host["started_at"]).timestamp() for host in hosts]
    return min(since), max(at + host["seconds"] for at, host in zip(since, hosts, strict=True))


def overhead(ledger: Path, wall_s: float) -> dict[str, float]:
    """Seconds of a run outside its folds, and the fraction of the workers' time between folds."""
    [experiment] = Ledger(ledger).experiments()
    hosts = [record.host for record in Ledger(ledger).records(experiment)]
    since = [datetime.fromisoformat(host["started_at"]).timestamp() for host in hosts]
    until = [start + host["seconds"] for start, host in zip(since, hosts, strict=True)]
    first, last = span(ledger)
    busy = 0.0
    for worker in {host["worker"] for host in hosts}:
        end = 0.0
        mine = [i for i, host in enumerate(hosts) if host["worker"] == worker]
        for i in sorted(mine, key=lambda i: since[i]):
            busy += max(0.0, until[i] - max(since[i], end))
            end = max(end, until[i])
    workers = len({host["worker"] for host in hosts})
    return {
        "outside_s": wall_s - (last - first),
        "idle_share": max(0.0, 1 - busy / ((last - first) * workers)),
    }


def seconds_of(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def ways(folder: Path, epochs: int, given: argparse.Namespace) -> dict[str, Way]:
    """Name and work of each way; the number of the repetition is its argument."""
    stacks = ("auto",) if given.lean else ("1", "auto")
    plain: dict[str, Way] = {"strong_pool": lambda _: strong_pool(folder, epochs)}
    if not given.lean:
        ordinary = plain_command("ordinary", folder, epochs)
        plain["ordinary"] = lambda _: subprocess.run(ordinary, check=True, capture_output=True)
        plain["process_per_fold"] = lambda _: process_per_fold(folder, epochs)
    return plain | {
        f"run_loso_stack_{stack}": partial(run_engine, folder, epochs, stack) for stack in stacks
    }


def run_engine(folder: Path, epochs: int, stack: str, number: int) -> None:
    """`run_loso` as a user calls it, with a new ledger for each repetition."""
    command = engine_command(folder, epochs, folder / f"run_loso_stack_{stack}-{number}", stack)
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--fold"]:
        kind = {"ordinary": OrdinaryFold, "strong": StrongFold}[sys.argv[2]]
        plain_folds(Path(sys.argv[3]), int(sys.argv[4]), [int(k) for k in sys.argv[5:]], kind)
        return
    switches = {"short": "half of the epochs", "lean": "the strongest pool and stacks alone"}
    given = arguments(__doc__, 3, switches)
    epochs = EPOCHS // 2 if given.short else EPOCHS
    load = quiet()
    seconds: dict[str, list[float]] = {}
    spent: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        for number in range(given.repeats):
            for way, work in ways(folder, epochs, given).items():
                started = time.perf_counter()
                work(number)
                seconds.setdefault(way, []).append(time.perf_counter() - started)
                ledger = folder / f"{way}-{number}"
                if ledger.exists():
                    spent.setdefault(way, []).append(overhead(ledger, seconds[way][-1]))
    rows = []
    for way, all_s in seconds.items():
        median = statistics.median(all_s)
        row: dict[str, Any] = {"way": way, "median_s": median, "all_s": all_s}
        row["folds_per_hour"] = SUBJECTS * 3600 / median
        row["ratio_to_strong_pool"] = statistics.median(seconds["strong_pool"]) / median
        for figure in ("outside_s", "idle_share"):
            if way in spent:
                row[figure] = statistics.median(each[figure] for each in spent[way])
        rows.append(row)
    head = {"subjects": SUBJECTS, "epochs": epochs, "input_size": SIZE, "load_before": load}
    report("loso", [head, *rows], given.json)


if __name__ == "__main__":
    main()
