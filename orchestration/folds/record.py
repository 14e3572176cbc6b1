"""The record of a trained fold, and the student's features beside it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dadnet.folds.protocols import Fold
from dadnet.folds.view import TrainedFold
from dadnet.inference.score import pooled_features, score
from orchestration.folds.plan import Plan
from results.ledger.features import Features, FloatArray
from results.ledger.records import FoldRecord, Prediction


def fold_record(
    plan: Plan,
    fold: Fold,
    trained: TrainedFold,
    device: torch.device,
    host: Mapping[str, Any],
) -> FoldRecord:
    """Score a fold's test clips, once, with the chosen weights.

    Args:
        plan: the experiment's plan.
        fold: one of its folds.
        trained: the outcome of its training.
        device: where its network is.
        host: circumstances.
    """
    rows = plan.dataset.rows(fold.test)
    flows = plan.dataset.flows[rows].to(device)
    task, classes = plan.dataset.task, plan.dataset.classes
    probabilities = score(trained.model, flows, trained.statistics, task=task)
    truths, decided = plan.dataset.labels[rows].numpy(), task.decide(probabilities)
    return FoldRecord(
        experiment=plan.experiment.digest,
        fold=fold.name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        test_subjects=fold.test,
        selection=plan.config.data.selection,
        chosen_epoch=trained.chosen_epoch,
        epochs_run=trained.epochs_run,
        curves={
            name: tuple(v if np.isfinite(v) else None for v in values)
            for name, values in trained.curves.items()
        },
        predictions=tuple(
            Prediction(
                clip_id=str(clip.clip_id),
                subject=str(clip.subject),
                part=str(clip.part),
                label=task.named(truth, classes),
                prediction=task.named(given, classes),
                probabilities=tuple(float(x) for x in p),
            )
            for clip, truth, given, p in zip(
                plan.dataset.clips.iloc[rows.numpy()].itertuples(),
                truths,
                decided,
                probabilities,
                strict=True,
            )
        ),
        teacher_digest=plan.experiment.teacher_digest,
        audit=plan.audit,
        host=host,
    )


def fold_features(
    plan: Plan, fold: Fold, trained: TrainedFold, device: torch.device
) -> Features | None:
    """The pooled features of a fold's test clips, and the mean ones of its fit clips by class.

    Returns:
        None where clips have several labels, and so no class to lie beside; with a warning, where
        a class has no fit clip to be shown beside.
    """
    if plan.dataset.task.multi_label:
        return None

    def of_rows(rows: torch.Tensor) -> FloatArray:
        return pooled_features(
            trained.model, plan.dataset.flows[rows].to(device), trained.statistics
        )

    fit, test = plan.dataset.rows(fold.fit), plan.dataset.rows(fold.test)
    labels = plan.dataset.labels[fit].numpy()
    lacking = sorted(set(range(len(plan.dataset.classes))) - set(labels.tolist()))
    if lacking:
        names = ", ".join(plan.dataset.classes[number] for number in lacking)
        warnings.warn(f"{fold.name}: no features are kept: no fit clip of {names}", stacklevel=2)
        return None
    fitted = of_rows(fit)
    means = [fitted[labels == number].mean(axis=0) for number in range(len(plan.dataset.classes))]
    clip_ids = tuple(plan.dataset.clips["clip_id"].iloc[test.numpy()].astype(str))
    return Features(plan.experiment.digest, fold.name, clip_ids, of_rows(test), np.stack(means))
