"""A leaderboard over very many experiments: time and memory, from nothing and unchanged.

A simulated ledger is written to a folder (not with `Ledger.put`, whose fsyncs would take hours),
read by `python -m results leaderboard` in a new process, and read again.

`python -m benchmarks.leaderboard --folder /tmp/large --json benchmarks/results/leaderboard.json`
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from benchmarks.coverage import CLASSES, LABELS, answers, label_profiles, prior_of
from dadnet.base.digests import content_digest
from results.leaderboard.stamp import STAMP
from results.ledger.ledger import file_name
from results.ledger.records import Experiment, PlannedFold
from results.ledger.sealed import seal

EPOCHS = 20


def write_ledger(root: Path, first: int, last: int) -> int:
    """Write experiments `first` to `last` on the MEGC label table; return their number of clips."""
    profiles = label_profiles(LABELS)
    subjects = [f"megc2019/sub{number:02d}" for number in range(len(profiles))]
    folds = tuple(
        PlannedFold(name, (name,), int(clips.sum()))
        for name, clips in zip(subjects, profiles, strict=True)
    )
    num_clips = 0
    for number in range(first, last):
        draw = np.random.default_rng(number)
        seed, method = number % 5, f"method {number // 5:04d}"
        digest = content_digest(str(number))
        config = {"seed": seed, "optim": {"lr": 1e-4 * (number // 5 + 1), "epochs": EPOCHS}}
        experiment = Experiment(
            digest, method, "megc2019", "cde", "3class", CLASSES, "inner", seed, "d" * 16, None,
            config, folds,
        )  # fmt: skip
        folder = root / "megc2019" / digest
        (folder / "folds").mkdir(parents=True)
        (folder / "experiment.json").write_text(experiment.to_json() + "\n")
        ability = draw.normal(draw.uniform(0.2, 1.4), 1.0, len(subjects))
        confusions = answers(profiles, ability, prior_of(profiles), draw)
        curve = [round(float(v), 6) for v in draw.uniform(0, 1, EPOCHS)]
        for name, confusion in zip(subjects, confusions, strict=True):
            text = _record(digest, name, subjects, confusion, curve, draw)
            (folder / "folds" / f"{file_name(name)}.json").write_text(text + "\n")
        num_clips += int(profiles.sum())
    return num_clips


def _record(
    digest: str,
    name: str,
    subjects: list[str],
    confusion: np.ndarray,
    curve: list[float],
    draw: np.random.Generator,
) -> str:
    clips = [
        (truth, predicted) for truth, predicted in np.ndindex(*confusion.shape)
        for _ in range(confusion[truth, predicted])
    ]  # fmt: skip
    predictions = []
    for number, (truth, predicted) in enumerate(clips):
        table = draw.dirichlet((1.0, 1.0, 1.0))
        best = int(table.argmax())
        table[best], table[predicted] = table[predicted], table[best]
        predictions.append(
            {
                "clip_id": f"{name}/clip{number:02d}",
                "subject": name,
                "part": "",
                "label": CLASSES[truth],
                "prediction": CLASSES[predicted],
                "probabilities": [float(p) for p in table],
            }
        )
    others = [other for other in subjects if other != name]
    names = ("train_loss", "alignment", "learning_rate", "val_uf1", "val_uar", "val_log_loss")
    return seal(
        {
            "schema": 1,
            "experiment": digest,
            "fold": name,
            "fit_subjects": others[13:],
            "val_subjects": others[:13],
            "test_subjects": [name],
            "selection": "inner",
            "chosen_epoch": 7,
            "epochs_run": EPOCHS,
            "curves": dict.fromkeys(names, curve),
            "predictions": predictions,
            "teacher_digest": None,
            "audit": "no leak found",
            "host": {"hostname": "here", "seconds": 1.5, "worker": "w", "tries": 1},
        }
    )


def build(root: Path, out: Path) -> dict[str, Any]:
    """Build the site in a new process; return seconds, and peak memory with its children."""
    command = [sys.executable, "-m", "results", "leaderboard", "--run-pages", "0"]
    command += ["--ledger", str(root), "--out", str(out)]
    before = _cpu_seconds()
    started = time.perf_counter()
    peak = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        while run.poll() is None:
            peak = max(peak, _resident(run.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        assert run.stdout is not None
        last_line = run.stdout.read().splitlines()[-1]
    if run.returncode:
        raise SystemExit(run.returncode)
    return {
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - before,  # says what a busy machine hides
        "resident_gib": peak / 2**30,
        "last_line": last_line,
    }


def _resident(session: int) -> int:
    """Bytes that all processes of a session hold; shared memory is counted for each."""
    pages = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            pages += int(fields[21])
    return pages * resource.getpagesize()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def digests(out: Path) -> str:
    """Hash of all files of the site except its stamp, which holds the inodes of this ledger."""
    made = (path for path in sorted(out.rglob("*.*")) if path.name != STAMP)
    files = {path.name: content_digest(path.read_bytes(), 64) for path in made}
    return content_digest(json.dumps(files), 64)


def main() -> None:
    """Write the ledger in chunks if asked, then build, and build again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, required=True, help="for ledger and site")
    parser.add_argument("--make", help="only write experiments FIRST:LAST")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    flags = parser.parse_args()
    root, out = flags.folder / "runs", flags.folder / "site"
    if flags.make:
        first, last = map(int, flags.make.split(":"))
        print(write_ledger(root, first, last), "predictions")
        return
    if not root.exists():
        write_ledger(root, 0, flags.experiments)
    shutil.rmtree(out, ignore_errors=True)
    rows = []
    for what in ("from nothing", "nothing changed"):
        rows.append({"what": what, "experiments": flags.experiments, **build(root, out)})
        rows[-1]["site"] = digests(out)[:16]
    report("leaderboard", rows, flags.json)


if __name__ == "__main__":
    main()
