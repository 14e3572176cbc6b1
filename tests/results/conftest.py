"""Small made-up ledgers: a table of right and wrong answers becomes an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord
from tests.build.records import Table, build_experiment, build_random_table, build_record


@pytest.fixture
def make_experiment() -> Callable[..., Experiment]:
    return build_experiment


@pytest.fixture
def make_record() -> Callable[..., FoldRecord]:
    return build_record


@pytest.fixture
def random_table() -> Callable[..., Table]:
    return build_random_table


@pytest.fixture
def published_log() -> Path:
    """The public STSTNet log: 442 clips of 68 subjects (MEGC 2019 composite)."""
    return Path(__file__).parents[1] / "data" / "ststnet_predictions.csv"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs")


@pytest.fixture
def fill(ledger: Ledger) -> Callable[..., Experiment]:
    """Return a function that stores a table (but not the folds in `without`)."""

    def store(table: Table, without: Sequence[str] = (), **changes: object) -> Experiment:
        experiment = build_experiment(table, **changes)
        ledger.open(experiment)
        for fold, clips in table.items():
            if fold not in without:
                assert ledger.put(experiment, build_record(experiment, fold, clips))
        return experiment

    return store
