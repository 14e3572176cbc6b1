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
from dadnet.models import LossParts, classification_loss
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
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


def new_fold(
    config: ExperimentConfig, view: FoldView, teacher: Teacher | None, device: torch.device
) -> OneFold:
    """A fold at its beginning; arguments as of `OneFold`."""
    kind = FittedFold if config.model.model_type in FITTED_BASELINES else OneFold
    return kind(config, view, teacher, device)


def new_stack(folds: Sequence[OneFold], capture: Capture | None = None) -> FoldStack | None:
    """Folds to be trained as one program; None: one after the other, since they share nothing.

    `capture` makes one CUDA graph of a step; None: steps are eager.

    Raises:
        DadnetError: if they cannot be one stack.
    """
    kind = folds[0].config.model.model_type
    if kind in FITTED_BASELINES:
        return None
    if len(folds) == 1 and (folds[0].device.type == "cpu" or kind in BASELINE_NAMES):
        return None
    if kind in BASELINE_NAMES:
        from dadnet.training.vmapped_stack import VmappedFoldStack  # it loads scikit-learn

        return VmappedFoldStack(folds)
    return FoldStack(folds, capture)
