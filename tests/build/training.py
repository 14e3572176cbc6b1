"""Training of folds of the small networks, and comparisons of two trainings."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.loop import FoldTask, train_folds
from dadnet.training.teacher import Teacher
from tests.build.models import CPU, make_teacher, views


def train_stack(
    made: ExperimentConfig,
    views: Sequence[FoldView],
    *,
    teacher: Teacher | None = None,
    checkpoints: Sequence[CheckpointFile | None] | None = None,
    **options: Any,
) -> list[TrainedFold]:
    """Train all of these folds of one experiment at once; outcomes in the order of `views`."""
    files = checkpoints or [None] * len(views)
    tasks = (FoldTask(made, view, file) for view, file in zip(views, files, strict=True))
    options = {"device": CPU, **options}
    trained = train_folds(lambda: next(tasks, None), len(views), teacher=teacher, **options)
    outcomes = {outcome.name: outcome for outcome in trained}
    return [outcomes[view.name] for view in views]


def train(dataset, made, *, stack=None, files=None, every=1, on_epoch=None, teacher=None):
    stack = views(dataset, made)[:1] if stack is None else stack
    return train_stack(
        made,
        stack,
        teacher=teacher or make_teacher(),
        checkpoints=files,
        checkpoint_every=every,
        on_epoch=on_epoch,
    )


def assert_same(one, other):
    assert (one.name, one.chosen_epoch, one.epochs_run) == (
        other.name,
        other.chosen_epoch,
        other.epochs_run,
    )
    np.testing.assert_equal(dict(one.curves), dict(other.curves))
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[k], others[k]) for k in weights)


def assert_close(one, other):
    """Equal up to the order of summation, which Adam amplifies: hence few epochs and 1 %."""
    assert (one.name, one.chosen_epoch, one.epochs_run) == (
        other.name,
        other.chosen_epoch,
        other.epochs_run,
    )
    for name in ("train_loss", "val_log_loss", "learning_rate"):
        np.testing.assert_allclose(one.curves[name], other.curves[name], rtol=1e-2, err_msg=name)


def unequal_folds(dataset, made, number):
    """Folds of unequal size: the k-th has k clips fewer to train on."""
    stack = views(dataset, made) * 2
    return [
        dataclasses.replace(view, name=f"{view.name}-{k}", fit=view.fit[k:])
        for k, view in enumerate(stack[:number])
    ]


class Interrupted(Exception):
    pass
