"""Whole runs on a CPU: the records are the same bytes for every stack."""

import json
from pathlib import Path

import pytest

from orchestration import run_loso
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from tests.build.flows import make_clips, write_store

STACKS = ["1", "2", "3", "5", "8", "auto"]
KINDS = {
    "dual stream": ["--num-projections", "8"],
    "baseline": ["--model-type", "baseline"],
    "ststnet": ["--preset", "ststnet"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_30_epochs_are_the_same_bytes_for_every_stack(
    site: Path, tmp_path: Path, kind: str
):
    write_store(tmp_path / "flows", make_clips(6, 7))
    words = ["--flows", str(tmp_path / "flows"), "--workers", "0", "--epochs", "30"]
    if kind != "ststnet":
        words += ["--input-size", "32", "--batch-size", "7"]
    if kind == "dual stream":
        words += ["--macro-weights", str(site / "teacher.safetensors")]
    found = {}
    for stack in STACKS:
        ledger = tmp_path / stack
        more = ["--ledger", str(ledger), "--stack", stack, *KINDS[kind]]
        assert run_loso.main([*words, *more]) == 0
        [experiment] = Ledger(ledger).experiments()
        records = Ledger(ledger).records(experiment)
        found[stack] = {r.fold: json.dumps(comparable(r), sort_keys=True) for r in records}
        assert len(records) == 6
    for stack, records in found.items():
        assert records == found["1"], stack
