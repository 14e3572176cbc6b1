"""Small made-up ledgers: a table of right and wrong answers becomes an experiment."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from results.ledger import Ledger
from results.records import Experiment, FoldRecord, PlannedFold, Prediction

CLASSES = ("negative", "positive", "surprise")
# subject -> clips, each "truth>prediction" by first letters
Table = Mapping[str, Sequence[str]]


def build_experiment(table: Table, **changes: object) -> Experiment:
    """Return an experiment with one fold per subject of the table."""
    fields: dict[str, object] = {
        "method": "DAD-Net (micro/ultralight)",
        "dataset": "synthetic",
        "protocol": "loso",
        "class_set": "3class",
        "classes": CLASSES,
        "selection": "inner",
        "seed": 0,
        "data_digest": "d" * 16,
        "teacher_digest": None,
        "config": {"model": {"size": "micro"}, "epochs": 3},
        "folds": tuple(PlannedFold(name, (name,), len(clips)) for name, clips in table.items()),
    }
    fields.update(changes)
    name = "|".join(str(fields[key]) for key in ("method", "dataset", "protocol", "class_set"))
    name += f"|{fields['selection']}|{fields['seed']}"
    fields.setdefault("digest", hashlib.sha256(ascii(name).encode()).hexdigest()[:16])
    return Experiment(**fields)  # type: ignore[arg-type]


def build_record(
    experiment: Experiment, fold: str, clips: Sequence[str], **changes: object
) -> FoldRecord:
    """Return the record of a fold whose only test subject has the fold's name."""
    names = {name[0]: name for name in experiment.classes}
    rows = tuple(
        Prediction(f"{fold}/clip{i}", fold, "", names[clip[0]], names[clip[-1]])
        for i, clip in enumerate(clips)
    )
    others = [item.name for item in experiment.folds if item.name != fold]
    fields: dict[str, object] = {
        "experiment": experiment.digest,
        "fold": fold,
        "fit_subjects": tuple(others[1:]),
        "val_subjects": tuple(others[:1]),
        "test_subjects": (fold,),
        "selection": experiment.selection,
        "chosen_epoch": 1,
        "epochs_run": 2,
        "curves": {"train_loss": (1.25, 0.5), "val_uf1": (0.25, float("nan"))},
        "predictions": rows,
        "teacher_digest": experiment.teacher_digest,
        "audit": "no leak found",
        "host": {"hostname": "here", "seconds": 1.5},
    }
    return FoldRecord(**{**fields, **changes})  # type: ignore[arg-type]


def build_random_table(subjects: int, skill: float, seed: int, dataset: str = "synthetic") -> Table:
    """Return subjects with 2 to 12 clips, answered right with about the given probability."""
    draw = random.Random(seed)
    clips = random.Random(99)  # the truth does not depend on the method
    table = {}
    for subject in range(subjects):
        ease = min(1.0, max(0.0, skill + draw.uniform(-0.35, 0.25)))
        truths = clips.choices("nps", weights=(6, 3, 2), k=clips.randint(2, 12))
        table[f"{dataset}/sub{subject:02d}"] = [
            f"{truth}>{truth if draw.random() < ease else draw.choice('nps')}" for truth in truths
        ]
    return table


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
