"""What is kept of a trained fold: its validation side and, for a search, its weights."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.hidden_labels import hide_labels
from dadnet.folds.protocols import Fold
from dadnet.folds.view import TrainedFold
from dadnet.inference.score import score
from dadnet.models import load_weights, save_weights
from dadnet.training.build import build_model
from orchestration.folds.plan import Plan
from results.ledger.val_side import ValLedger, ValSide

# Names of the fit statistics among the weights (experiments that normalise by them).
_MEAN, _STD = "statistics.mean", "statistics.std"


def make_val_side(
    plan: Plan,
    fold: Fold,
    trained: TrainedFold,
    device: torch.device,
    host: Mapping[str, Any],
) -> ValSide:
    """Score the val clips once more, with the chosen weights.

    Args:
        plan: the experiment's plan; its dataset may hide the labels of test clips.
        fold: with a val part.
        trained: the outcome of its training.
        device: where its network is.
        host: circumstances.
    """
    dataset = plan.dataset
    rows = dataset.rows(fold.val)
    flows, task = dataset.flows[rows].to(device), dataset.task
    probabilities = score(trained.model, flows, trained.statistics, task=task)
    labels = dataset.labels[rows].numpy()
    owner = dataset.clips["subject"].iloc[rows.numpy()].to_numpy()
    losses = {
        subject: task.log_loss(probabilities[owner == subject], labels[owner == subject])
        for subject in fold.val
    }
    found = task.counts(labels, task.decide(probabilities), len(dataset.classes))
    return ValSide(
        experiment=plan.experiment.digest,
        fold=fold.name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        chosen_epoch=trained.chosen_epoch,
        epochs_run=trained.epochs_run,
        curves=trained.curves,
        confusion=found.tolist(),
        log_losses={k: float(v) if np.isfinite(v) else None for k, v in losses.items()},
        parameters=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        host=host,
    )


def save_trained(plan: Plan, trained: TrainedFold, vals: ValLedger) -> None:
    """Write the chosen weights, without the frozen teacher's."""
    state: dict[str, Tensor] = {
        name: value
        for name, value in trained.model.state_dict().items()
        if not name.startswith("teacher.")
    }
    if trained.statistics is not None:
        state[_MEAN], state[_STD] = trained.statistics
    path = vals.weights_path(plan.experiment, trained.name)
    save_weights(path, state, {"experiment": plan.experiment.digest, "fold": trained.name})


def load_trained(
    plan: Plan, fold: str, vals: ValLedger, device: torch.device
) -> TrainedFold | None:
    """A fold as its training left it, from val side and weights; None if one is missing."""
    side, path = vals.get(plan.experiment, fold), vals.weights_path(plan.experiment, fold)
    if side is None or not path.exists():
        return None
    try:
        weights, metadata = load_weights(path)
    except DadnetError as error:
        path.unlink()
        warnings.warn(f"{error}; fold {fold} is trained again", stacklevel=2)
        return None
    assert (metadata["experiment"], metadata["fold"]) == (plan.experiment.digest, fold), path
    state = dict(weights)
    statistics = (state.pop(_MEAN), state.pop(_STD)) if _MEAN in state else None
    model = build_model(plan.config, len(plan.dataset.classes), plan.teacher, torch.Generator())
    # As in training: the memory format changes the order of summation.
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("teacher.") for name in missing), missing
    return TrainedFold(
        name=fold,
        model=model.eval(),
        statistics=statistics,
        chosen_epoch=side.chosen_epoch,
        epochs_run=side.epochs_run,
        curves={
            name: tuple(float("nan") if v is None else v for v in values)
            for name, values in side.curves.items()
        },
    )


def visible(plan: Plan, fold: Fold, *, test_side: bool) -> MicroExpressionDataset:
    """The clips that the making of a fold may look at: without a test side, none of its test."""
    return plan.dataset if test_side else hide_labels(plan.dataset, fold.test)
