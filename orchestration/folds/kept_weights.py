"""Kept weights: the student of a finished fold as a model file beside its record."""

import math
from dataclasses import replace

from dadnet.base.location import Location
from dadnet.config.experiment import ModelConfig
from dadnet.folds.view import TrainedFold
from dadnet.inference.model_file import ModelCard, TrainedModel
from dadnet.models import DADNet, save_weights, weights_digest
from orchestration.folds.plan import Plan
from results.ledger.ledger import Ledger, file_name
from results.ledger.records import Experiment


def keep_weights(plan: Plan, trained: TrainedFold, ledger: Ledger) -> str:
    """Write the fold's chosen weights, without teacher and adapters; returns their hash."""
    student = trained.model.student if isinstance(trained.model, DADNet) else trained.model
    weights = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    path = ledger.weights_path(plan.experiment, trained.name)
    TrainedModel(weights, fold_card(plan, trained)).save(path)
    if isinstance(trained.model, DADNet) and trained.model.adapted_stages:
        # They are needed to compare the streams (`orchestration.explain`), not to predict.
        path = adapters_path(ledger, plan.experiment, trained.name)
        save_weights(path, trained.model.adapters, {})
    return weights_digest(weights)


def adapters_path(ledger: Ledger, experiment: Experiment, fold: str) -> Location:
    """Path of the adapters of a fold's kept weights, if its streams differ in width."""
    return ledger.folder(experiment) / "adapters" / f"{file_name(fold)}.safetensors"


def student_alone(model: ModelConfig) -> ModelConfig:
    """The model that predicts: of a dual stream its student, else the model itself."""
    return replace(model, model_type="baseline") if model.model_type == "dad_net" else model


def fold_card(plan: Plan, trained: TrainedFold) -> ModelCard:
    """The card of a fold's weights."""
    chosen, experiment, fold = trained.chosen_epoch - 1, plan.experiment, plan.fold(trained.name)
    statistics = None
    if trained.statistics is not None:
        (a, b), (c, d) = (part.tolist() for part in trained.statistics)
        statistics = ((a, b), (c, d))
    return ModelCard(
        kind="fold",
        model=student_alone(plan.config.model),
        classes=plan.dataset.classes,
        multi_label=plan.dataset.task.multi_label,
        normalisation=plan.config.data.normalisation,
        statistics=statistics,
        subjects=tuple(sorted({*fold.fit, *fold.val})),
        data_digest=experiment.data_digest,
        made_from=experiment.digest,
        flow=plan.flow,
        metrics={n: v[chosen] for n, v in trained.curves.items() if math.isfinite(v[chosen])},
        origin={
            "method": experiment.method,
            "dataset": experiment.dataset,
            "class_set": experiment.class_set,
            "protocol": experiment.protocol,
            "selection": experiment.selection,
            "seed": experiment.seed,
            "teacher_digest": experiment.teacher_digest,
            "fold": fold.name,
            "num_folds": len(plan.folds),
            "test_subjects": list(fold.test),
            "chosen_epoch": trained.chosen_epoch,
        },
    )
