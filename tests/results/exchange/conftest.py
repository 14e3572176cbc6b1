"""A complete experiment as a run makes it, and its bundle."""

from pathlib import Path

import pytest

from dadnet.config.experiment import DataConfig, ExperimentConfig, experiment_digest
from results.exchange.submission import pack
from results.ledger.records import Experiment, PlannedFold
from tests.build.records import FOUR_SUBJECTS


@pytest.fixture
def real(ledger, make_experiment, make_record) -> Experiment:
    """An experiment whose digest follows from its config, as a run makes it."""
    config = ExperimentConfig(data=DataConfig(selection="inner"), seed=7)
    experiment = make_experiment(
        FOUR_SUBJECTS,
        digest=experiment_digest(config, "d" * 16, "t" * 16),
        method=config.method(),
        seed=7,
        teacher_digest="t" * 16,
        config=config.to_json(),
        folds=tuple(PlannedFold(name, (name,), 3) for name in FOUR_SUBJECTS),
    )
    ledger.open(experiment)
    for fold, clips in FOUR_SUBJECTS.items():
        ledger.put(experiment, make_record(experiment, fold, clips))
    return experiment


@pytest.fixture
def bundle(ledger, real, tmp_path) -> Path:
    path = tmp_path / "mine.zip"
    pack(ledger, [real], path)
    return path
