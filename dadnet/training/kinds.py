"""Which class trains a fold, and which a stack of folds, for each kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from dadnet.base.seeding import seed_hash
from dadnet.config.experiment import BASELINE_NAMES, FITTED_BASELINES, ExperimentConfig
from dadnet.flow.normalisation import normalise
from dadnet.folds.view import FoldView
from dadnet.inference.score import Probabilities
from dadnet.models import LossParts, classification_loss
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.teacher import Teacher

if TYPE_CHECKING:
    from dadnet.models.baselines import FittedBaseline  # at run time it would load scikit-learn


class FittedFold(OneFold):
    """A fold of a baseline that one step fits to all fit clips, without gradient.

    It has one epoch; schedule and augmentation are not used.
    """

    @property
    def rate(self) -> float:
        """0: there is no learning rate."""
        return 0.0

    def batches(self) -> tuple[Tensor, ...]:
        """All fit clips at once, in the order of the dataset."""
        return (self.view.fit,)

    @torch.no_grad()
    def _training_step(self, rows: Tensor) -> LossParts:
        model = cast("FittedBaseline", self.model)
        flows = normalise(self.view.flows[rows].float(), self.statistics)
        labels = self.view.labels[rows]
        model.fit(flows, labels, seed_hash("fit", self.config.seed, self.view.name))
        self.step += 1
        return classification_loss(model.eval()(flows).logits, labels, 0.0)


class FoldLoop:
    """Folds that are trained one after the other, since fits share no arithmetic."""

    def __init__(self, folds: Sequence[OneFold]) -> None:
        self.folds = list(folds)

    def train_epoch(self) -> None:
        """One pass of every fold over its own fit clips."""
        for fold in self.folds:
            fold.train_epoch()

    def training_step(self, chosen: list[int], rows: list[Tensor]) -> None:
        """One step of some folds, each on its own rows."""
        for k, fold_rows in zip(chosen, rows, strict=True):
            self.folds[k].training_step(fold_rows)

    def val_probabilities(self) -> list[Probabilities]:
        """Class probabilities of the val clips of every fold."""
        return [fold.val_probabilities() for fold in self.folds]


def new_fold(
    config: ExperimentConfig, view: FoldView, teacher: Teacher | None, device: torch.device
) -> OneFold:
    """A fold at its beginning; arguments as of `OneFold`."""
    kind = FittedFold if config.model.model_type in FITTED_BASELINES else OneFold
    return kind(config, view, teacher, device)


def new_stack(folds: Sequence[OneFold]) -> FoldStack | FoldLoop:
    """Folds to be trained together.

    Raises:
        DadnetError: if they cannot be one stack.
    """
    kind = folds[0].config.model.model_type
    if kind in FITTED_BASELINES:
        return FoldLoop(folds)
    if kind in BASELINE_NAMES:
        from dadnet.training.vmapped_stack import VmappedFoldStack  # it loads scikit-learn

        return VmappedFoldStack(folds)
    return FoldStack(folds)
