"""Input and output of a fold's training: its view of the clips, and the trained fold."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.folds.protocols import Fold
from dadnet.labels.targets import hidden_label, multi_label
from dadnet.labels.tasks import Task, task_of

CURVES = ("train_loss", "alignment", "learning_rate", "val_uf1", "val_uar", "val_log_loss")


@dataclass(frozen=True, eq=False)
class FoldView:
    """The data of a fold that the trainer receives.

    Attributes:
        name: the fold's name.
        flows: all clips' flows, shape (N, 2, S, S), float16; shared by all folds.
        labels: shape (N,), int64; with several labels (N, K), float32. `hidden_label` for every
            clip outside fit and val.
        fit: rows for training, shape (n,).
        val: rows for the choice of the epoch, shape (m,); empty with selection `last`.
        num_classes: number of classes or labels.
        flows_digest: hash of the flows.
    """

    name: str
    flows: Tensor
    labels: Tensor
    fit: Tensor
    val: Tensor
    num_classes: int
    flows_digest: str

    @classmethod
    def of(cls, dataset: MicroExpressionDataset, fold: Fold, device: torch.device) -> "FoldView":
        """The view of one fold, with its flows on the device."""
        fit, val = dataset.rows(fold.fit), dataset.rows(fold.val)
        labels = torch.full_like(dataset.labels, hidden_label(dataset.labels))
        for rows in (fit, val):
            labels[rows] = dataset.labels[rows]
        flows, num_classes = _resident(dataset, device), len(dataset.classes)
        digest = dataset.flows_digest
        return cls(fold.name, flows, labels.to(device), fit, val, num_classes, digest)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the fit clips, each of shape (2,)."""
        std, mean = torch.std_mean(self.flows[self.fit].double(), dim=(0, 2, 3), correction=0)
        return mean.float(), std.float()

    @property
    def task(self) -> Task:
        """Whether a clip has one class or several labels."""
        return task_of(multi_label(self.labels))


@lru_cache(maxsize=1)
def _resident(dataset: MicroExpressionDataset, device: torch.device) -> Tensor:
    """The flows on the device, once for all folds."""
    return dataset.flows.to(device)


@dataclass(frozen=True, eq=False)
class TrainedFold:
    """The result of a fold's training.

    Attributes:
        name: the fold's name.
        model: the network with the chosen epoch's weights.
        statistics: mean and standard deviation of the fit clips where the experiment normalises
            by them, else None.
        chosen_epoch: the epoch of the weights, counted from 1.
        epochs_run: number of trained epochs.
        curves: one value per epoch for each of `CURVES` and, where stages are aligned, each of
            `alignment_stage_<n>`; NaN where there is none.
    """

    name: str
    model: nn.Module
    statistics: tuple[Tensor, Tensor] | None
    chosen_epoch: int
    epochs_run: int
    curves: Mapping[str, tuple[float, ...]]
