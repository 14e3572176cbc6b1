"""Training of the macro teacher: one network, with classes drawn equally often."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.loop import FoldTask, train_folds
from dadnet.training.one_fold import OneFold


class BalancedFold(OneFold):
    """A fold whose epochs draw clips with replacement, every class equally likely.

    Posed datasets are unbalanced (CK+ has 175 negative, 69 positive and 83 surprise sequences), and
    the public recipe of the teacher draws in this way.
    """

    def batches(self) -> tuple[Tensor, ...]:
        """Rows of the batches of the epoch to come, as many as there are fit clips."""
        draws = generator("order", self.config.seed, self.view.name, self.epoch)
        labels = self.view.labels[self.view.fit].cpu()
        weight = 1 / torch.bincount(labels, minlength=self.view.num_classes).double()
        chosen = torch.multinomial(weight[labels], len(labels), replacement=True, generator=draws)
        rows = self.view.fit[chosen.to(self.view.fit.device)]
        return rows.tensor_split(math.ceil(len(rows) / self.config.optim.batch_size))


def train_teacher_network(
    config: ExperimentConfig,
    view: FoldView,
    *,
    weighted_sampler: bool,
    device: torch.device,
    checkpoint: CheckpointFile,
    on_epoch: Callable[[int, Mapping[str, float]], None],
    checkpoint_every: int = 5,
) -> TrainedFold:
    """Train a teacher; an interrupted training continues with the same numbers.

    Args:
        config: a `baseline`.
        view: fit and val clips.
        weighted_sampler: draw every class equally often instead of every clip once an epoch.
        device: where to train.
        checkpoint: file of the training state; the caller removes it.
        on_epoch: called with the epoch (from 1) and its metrics.
        checkpoint_every: epochs between two states.

    Raises:
        DadnetError: if a class has no clip to train on.
    """
    counts = torch.bincount(view.labels[view.fit].cpu(), minlength=view.num_classes)
    if not counts.all():
        raise DadnetError(
            f"teacher: expected clips of all {view.num_classes} classes to train on, got "
            f"{', '.join(map(str, counts.tolist()))} in class order"
        )
    kind = BalancedFold if weighted_sampler else OneFold
    task = iter([FoldTask(config, view, checkpoint, kind)])
    [trained] = train_folds(
        lambda: next(task, None),
        1,
        teacher=None,
        device=device,
        checkpoint_every=checkpoint_every,
        on_epoch=lambda _, epoch, figures: on_epoch(epoch, figures),
    )
    return trained
