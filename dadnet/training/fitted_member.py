"""One fold of a baseline that is fitted in one go: one epoch, without gradient."""

import torch
from torch import Tensor

from dadnet.base.seeding import seed_hash
from dadnet.flow.normalisation import normalise
from dadnet.models import LossParts, classification_loss
from dadnet.models.baselines import FittedBaseline
from dadnet.training.one_fold import Member


class FittedMember(Member):
    """A member whose one step fits all fit clips; schedule and augmentation have no say."""

    @property
    def rate(self) -> float:
        """There is none."""
        return 0.0

    def batches(self) -> tuple[Tensor, ...]:
        """All fit clips at once, in the order of the dataset."""
        return (self.view.fit,)

    @torch.no_grad()
    def _training_step(self, rows: Tensor) -> LossParts:
        assert isinstance(self.model, FittedBaseline)
        flows = normalise(self.view.flows[rows].float(), self.statistics)
        labels = self.view.labels[rows]
        self.model.fit(flows, labels, seed_hash("fit", self.config.seed, self.view.name))
        self.step += 1
        return classification_loss(self.model.eval()(flows).logits, labels, 0.0)
