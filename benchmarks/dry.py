"""Folds that only take time, and write real records: for measuring what is around the training."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch

from dadnet.config.experiment import ExperimentConfig, experiment_digest
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold
from dadnet.folds.view import CURVES
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.folds.worker_queue import FoldQueue
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord, PlannedFold, Prediction

CLASSES = ("negative", "positive", "surprise")
CLIPS_EACH, EPOCHS, REPORTED_EPOCHS = 7, 30, 2


def dry_plan(num_folds: int, seconds: float) -> Plan:
    """A plan whose folds have the sizes of those of a set of 68 subjects.

    Args:
        num_folds: test subjects; each fold has the same 54 subjects to fit and 13 for val.
        seconds: that a fold takes; kept in the audit's line, where the dry engine finds it.
    """
    config = ExperimentConfig()
    fit = tuple(f"synthetic/fit{i:02d}" for i in range(54))
    val = tuple(f"synthetic/val{i:02d}" for i in range(13))
    tests = [f"synthetic/sub{i:06d}" for i in range(num_folds)]
    clips = pd.DataFrame(
        [(f"{s}/c{c}", s, "", "", "negative") for s in (*fit, *val) for c in range(CLIPS_EACH)],
        columns=["clip_id", "subject", "part", "flow_digest", "label"],
    )
    number = len(clips)
    dataset = MicroExpressionDataset(
        clips=clips,
        flows=torch.zeros((number, 2, 32, 32), dtype=torch.float16),
        labels=torch.zeros(number, dtype=torch.int64),
        classes=CLASSES,
        dropped={},
    )
    folds = tuple(Fold(name, fit, val, (name,)) for name in tests)
    experiment = Experiment(
        digest=experiment_digest(config, f"dry-{num_folds}-{seconds}", None),
        method="dry",
        dataset="synthetic",
        protocol="loso",
        class_set="3class",
        classes=CLASSES,
        selection="inner",
        seed=config.seed,
        data_digest="dry",
        teacher_digest=None,
        config=config.to_json(),
        folds=tuple(PlannedFold(f.name, f.test, CLIPS_EACH) for f in folds),
    )
    return Plan(config, dataset, folds, None, experiment, str(seconds))


def make_dry_folds(
    plan: Plan, queue: FoldQueue, options: WorkOptions, stop: Callable[[], bool]
) -> None:
    """Take the time of the folds, report two epochs, write the records; see
    :func:`orchestration.folds.make.make_folds`."""
    ledger = Ledger(options.ledger)
    while not stop() and (claim := queue.take()) is not None:
        started, name = time.time(), claim.fold
        for number in range(1, REPORTED_EPOCHS + 1):
            time.sleep(float(plan.audit) / REPORTED_EPOCHS)
            epoch = number * EPOCHS // REPORTED_EPOCHS
            queue.inform(name, epoch, {"val_uf1": 0.5, "train_loss": 1.0})
        made = {"started_at": started, "seconds": time.time() - started, **claim.circumstances}
        ledger.put(plan.experiment, dry_record(plan, plan.fold(name), made))
        queue.finish(name)


def dry_record(plan: Plan, fold: Fold, host: Mapping[str, Any]) -> FoldRecord:
    """A record of usual size: 30 epochs of curves, seven clips."""
    curve = tuple(round(1 / (epoch + 1), 6) for epoch in range(EPOCHS))
    return FoldRecord(
        experiment=plan.experiment.digest,
        fold=fold.name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        test_subjects=fold.test,
        selection="inner",
        chosen_epoch=3,
        epochs_run=EPOCHS,
        curves=dict.fromkeys(CURVES, curve),
        predictions=tuple(
            Prediction(
                clip_id=f"{fold.name}/c{c}",
                subject=fold.name,
                part="",
                label=CLASSES[c % 3],
                prediction=CLASSES[(c // 2) % 3],
                probabilities=(0.5, 0.25, 0.25),
            )
            for c in range(CLIPS_EACH)
        ),
        teacher_digest=None,
        audit="dry",
        host=host,
    )
