"""The files of a trained fold: val side, weights, features and, last, its record.

A search writes no test side: the test clips of its winner are scored later, from its weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import Location
from dadnet.config.baselines import FITTED_BASELINES
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.hidden_labels import hide_labels
from dadnet.folds.protocols import Fold
from dadnet.folds.view import TrainedFold
from dadnet.inference.counting import size_of
from dadnet.inference.score import pooled_features, score
from dadnet.models import load_weights, save_weights
from dadnet.training.build import build_model
from orchestration.folds.kept_weights import keep_weights
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from results.ledger.features import Features, FloatArray, put_features
from results.ledger.files import quarantine
from results.ledger.ledger import Ledger
from results.ledger.records import FoldRecord, Prediction
from results.ledger.val_side import ValLedger, ValSide

# Names of the fit statistics among the weights (experiments that normalise by them).
_MEAN, _STD = "statistics.mean", "statistics.std"


def write_fold(
    plan: Plan, trained: TrainedFold, options: WorkOptions, circumstances: Mapping[str, Any]
) -> None:
    """Write what is kept of a trained fold; `circumstances`: where and how it was made."""
    vals, device = ValLedger(options.ledger), torch.device(options.device)
    if not options.test_side:
        save_trained(plan, trained, vals)
    if plan.config.data.selection == "inner":
        seen = replace(plan, dataset=dataset_to_train(plan, plan.fold(trained.name), options))
        vals.put(plan.experiment, make_val_side(seen, trained, device, circumstances))
    if options.test_side:
        _write_test_side(plan, trained, options, circumstances)


def _write_test_side(
    plan: Plan, trained: TrainedFold, options: WorkOptions, circumstances: Mapping[str, Any]
) -> None:
    """Write weights, features and the record, which says that the fold is done."""
    device, ledger, digests = torch.device(options.device), Ledger(options.ledger), {}
    if options.keep_weights == "best":
        digests["weights_digest"] = keep_weights(plan, trained, ledger)
    # A fitted model has no features of its own.
    if options.keep_features == "test" and plan.config.model.model_type not in FITTED_BASELINES:
        features = fold_features(plan, trained, device)
        if features is not None:
            put_features(ledger, plan.experiment, features)
    record = fold_record(plan, trained, device, {**circumstances, **digests})
    if not ledger.put(plan.experiment, record):
        warnings.warn(
            f"fold {trained.name} was finished by another worker meanwhile; its record stays",
            stacklevel=2,
        )


def is_written(plan: Plan, name: str, options: WorkOptions) -> bool:
    """Whether a fold's record is in the ledger; in a search, its val side and weights."""
    if options.test_side:
        return Ledger(options.ledger).record(plan.experiment, name) is not None
    return not ValLedger(options.ledger).without_weights(plan.experiment, (name,))


def score_trained(
    plan: Plan, name: str, options: WorkOptions, circumstances: Mapping[str, Any]
) -> bool:
    """Score a fold that a search has trained, from its weights; False if there is none."""
    device, vals = torch.device(options.device), ValLedger(options.ledger)
    trained, side = load_trained(plan, name, vals, device), vals.get(plan.experiment, name)
    if trained is None or side is None:
        return False
    _write_test_side(plan, trained, options, {**side.host, **circumstances})
    return True


def dataset_to_train(plan: Plan, fold: Fold, options: WorkOptions) -> MicroExpressionDataset:
    """The clips that a fold's training may look at: in a search, no test label of the fold."""
    return plan.dataset if options.test_side else hide_labels(plan.dataset, fold.test)


def make_val_side(
    plan: Plan, trained: TrainedFold, device: torch.device, circumstances: Mapping[str, Any]
) -> ValSide:
    """Score the val clips of a fold once more, with the chosen weights.

    The test labels may be hidden in the plan's dataset.
    """
    dataset, fold = plan.dataset, plan.fold(trained.name)
    rows = dataset.rows(fold.val)
    flows, task = dataset.flows[rows].to(device), dataset.task
    probabilities = score(trained.model, flows, trained.statistics, task=task)
    labels = dataset.labels[rows].numpy()
    subjects = dataset.clips["subject"].iloc[rows.numpy()].to_numpy()
    losses = {
        subject: task.log_loss(probabilities[subjects == subject], labels[subjects == subject])
        for subject in fold.val
    }
    return ValSide(
        experiment=plan.experiment.digest,
        fold=fold.name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        chosen_epoch=trained.chosen_epoch,
        epochs_run=trained.epochs_run,
        curves=trained.curves,
        confusion=task.counts(labels, task.decide(probabilities), len(dataset.classes)).tolist(),
        log_losses={k: float(v) if np.isfinite(v) else None for k, v in losses.items()},
        parameters=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        host=circumstances,
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
    """The trained fold, read from val side and weights; None if one is missing.

    What is damaged or does not fit is moved to ``quarantine/`` with a `LedgerWarning`.
    """
    side = vals.get_or_set_aside(plan.experiment, fold)
    path = vals.weights_path(plan.experiment, fold)
    if side is None or not path.exists():
        return None
    model = build_model(plan.config, len(plan.dataset.classes), plan.teacher, torch.Generator())
    # As in training: the memory format changes the order of summation.
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        statistics = _load_into(model, path, {"experiment": side.experiment, "fold": fold})
    except StorageError:
        raise
    except DadnetError as error:
        folder = Ledger(vals.root).folder(plan.experiment)
        quarantine(path, folder, path.read_bytes(), f"{error}; fold {fold} is trained again")
        return None
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


def _load_into(
    model: nn.Module, path: Location, metadata: Mapping[str, str]
) -> tuple[Tensor, Tensor] | None:
    """Fill a network from a file of `save_trained`; returns the statistics of the fit clips.

    Raises:
        DadnetError: if the file is damaged, has other metadata or does not fit the network.
    """
    weights, found = load_weights(path, own=True)
    if found != metadata:
        raise DadnetError(f"expected weights of {dict(metadata)}, got those of {found}")
    state = dict(weights)
    statistics = (state.pop(_MEAN), state.pop(_STD)) if _MEAN in state else None
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # other shapes
        raise DadnetError(str(error).splitlines()[-1].strip()) from error
    if lost := [name for name in missing if not name.startswith("teacher.")] + unexpected:
        raise DadnetError(f"expected the weights of the network, got others: {lost[0]}, ...")
    return statistics


def fold_record(
    plan: Plan, trained: TrainedFold, device: torch.device, circumstances: Mapping[str, Any]
) -> FoldRecord:
    """Score a fold's test clips, once, with the chosen weights."""
    dataset, fold = plan.dataset, plan.fold(trained.name)
    rows, task, classes = dataset.rows(fold.test), dataset.task, dataset.classes
    flows = dataset.flows[rows].to(device)
    probabilities = score(trained.model, flows, trained.statistics, task=task)
    truths, decided = dataset.labels[rows].numpy(), task.decide(probabilities)
    clips = dataset.clips.iloc[rows.numpy()].itertuples()
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
                prediction=task.named(decision, classes),
                probabilities=tuple(float(x) for x in p),
            )
            for clip, truth, decision, p in zip(clips, truths, decided, probabilities, strict=True)
        ),
        teacher_digest=plan.experiment.teacher_digest,
        audit=plan.audit,
        host={**circumstances, **_size(plan, trained.model)},
    )


# digest of an experiment -> size of its network, which all its folds share
_SIZES: dict[str, dict[str, int]] = {}


def _size(plan: Plan, model: nn.Module) -> dict[str, int]:
    digest = plan.experiment.digest
    if digest not in _SIZES:
        _SIZES[digest] = size_of(model, plan.config.model)
    return _SIZES[digest]


def fold_features(plan: Plan, trained: TrainedFold, device: torch.device) -> Features | None:
    """The pooled features of a fold's test clips, and the mean ones of its fit clips by class.

    Returns:
        None where clips have several labels, since there is no mean of one class; None with a
        warning where a class has no fit clip.
    """
    dataset, fold = plan.dataset, plan.fold(trained.name)
    if dataset.task.multi_label:
        return None

    def of_rows(rows: torch.Tensor) -> FloatArray:
        return pooled_features(trained.model, dataset.flows[rows].to(device), trained.statistics)

    fit, test = dataset.rows(fold.fit), dataset.rows(fold.test)
    labels, numbers = dataset.labels[fit].numpy(), range(len(dataset.classes))
    if lacking := sorted(set(numbers) - set(labels.tolist())):
        names = ", ".join(dataset.classes[number] for number in lacking)
        warnings.warn(f"{fold.name}: no features are kept: no fit clip of {names}", stacklevel=2)
        return None
    fitted = of_rows(fit)
    means = np.stack([fitted[labels == number].mean(axis=0) for number in numbers])
    clip_ids = tuple(dataset.clips["clip_id"].iloc[test.numpy()].astype(str))
    return Features(plan.experiment.digest, fold.name, clip_ids, of_rows(test), means)
