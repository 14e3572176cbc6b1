"""Predicted and actual time of a run.

`python -m benchmarks.predicted --folder demo --json benchmarks/results/predicted.json`. The demo's
LOSO of DAD-Net (faces and teacher are created in the folder if they are missing): the seconds that
`--dry-run` prints; then the run itself, from the start of its first fold to the end of its last,
and the total that its ETA predicted after a quarter and after half of the folds.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.loso import span
from dadnet.base import cli
from dadnet.base.errors import DadnetError
from orchestration.flows.synthetic_inputs import input_steps, run_steps

_DRY = re.compile(r"about (\d+):(\d+) on \d+ workers, start-up not counted: (\d+) folds")
_ETA = re.compile(r"done \((\d+)/(\d+), ETA (?:(\d+):)?(\d+):(\d+)")


def eta_lines(command: Sequence[str]) -> list[tuple[float, float, float]]:
    """Run a command; return clock, fraction of folds done and seconds left of each ETA line."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := _ETA.search(line):
                done, of, hours, minutes, seconds = (int(part or 0) for part in match.groups())
                lines.append((time.time(), done / of, hours * 3600 + minutes * 60 + seconds))
    if process.returncode:
        raise DadnetError(f"expected a run that ends well, got status {process.returncode}")
    return lines


def one(folder: Path, stack: str, workers: int) -> dict[str, Any]:
    """Predict a run, and run it."""
    with tempfile.TemporaryDirectory() as ledger:
        words = f"--flows {folder}/flows/synthetic --macro-weights {folder}/teacher.safetensors"
        words += f" --stack {stack} --workers {workers} --ledger {ledger}/runs"
        command = [sys.executable, "-m", "orchestration.run_loso", *words.split()]
        dry = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
        match = _DRY.search(dry.stdout)
        assert match is not None
        lines = eta_lines(command)
        since, until = span(Path(ledger) / "runs")
        row = {
            "stack": stack,
            "workers": workers,
            "folds": int(match[3]),
            "predicted_s": 60 * int(match[1]) + int(match[2]),
            "actual_s": until - since,
        }
        row["predicted_to_actual"] = row["predicted_s"] / row["actual_s"]
        for fraction in (0.25, 0.5):
            at, left = next((at, left) for at, done, left in lines if done >= fraction)
            row[f"eta_to_actual_at_{fraction:g}"] = (at - since + left) / row["actual_s"]
        return row


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="of the demo")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each stack")
    given = parser.parse_args()
    if run_steps(input_steps(given.folder), cli.console()) != cli.DONE:
        raise DadnetError("the synthetic set could not be made")
    rows = [one(given.folder, stack, 2) for _ in range(given.repeats) for stack in ("1", "auto")]
    report("predicted", rows, given.json)


if __name__ == "__main__":
    main()
