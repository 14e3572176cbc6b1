"""Outputs of a trained network for clips: probabilities, and the student's pooled features."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dadnet.flow.normalisation import normalise
from dadnet.labels.targets import to_probabilities
from dadnet.labels.tasks import Task
from dadnet.models import DADNet
from dadnet.models.microflownext import ModelOutput
from dadnet.models.precision import matrix_units

Probabilities = npt.NDArray[np.float64]
Features = npt.NDArray[np.float64]
# Clips per batch; in evaluation mode clips are independent.
EVAL_BATCH = 64


def score(
    model: nn.Module, flows: Tensor, statistics: tuple[Tensor, Tensor] | None = None, *, task: Task
) -> Probabilities:
    """Probabilities of the classes or labels of clips, each independent of the other clips.

    Args:
        model: a network of this package; it is set to evaluation mode. Of a dual network only the
            student is run.
        flows: shape (N, 2, S, S), pixels, on the model's device.
        statistics: as in :func:`dadnet.flow.normalisation.normalise`.
        task: task of the network.

    Returns:
        Shape (N, K), float64; for classes, rows sum to 1.
    """
    return score_inputs(model, _inputs(flows, statistics), task=task)


def score_inputs(model: nn.Module, inputs: Iterable[Tensor], *, task: Task) -> Probabilities:
    """Probabilities of normalised clips, in batches (B, 2, S, S) of any size; see :func:`score`."""
    parts = [to_probabilities(out.logits.double(), task) for out in _outputs(model, inputs)]
    return torch.cat(parts).cpu().numpy()


def pooled_features(
    model: nn.Module, flows: Tensor, statistics: tuple[Tensor, Tensor] | None = None
) -> Features:
    """The student's features before its linear layer, (N, D); arguments as in :func:`score`."""
    parts = [out.pooled.double() for out in _outputs(model, _inputs(flows, statistics))]
    return torch.cat(parts).cpu().numpy()


def _inputs(flows: Tensor, statistics: tuple[Tensor, Tensor] | None) -> Iterator[Tensor]:
    return (normalise(batch.float(), statistics) for batch in torch.split(flows, EVAL_BATCH))


@torch.no_grad()
def _outputs(model: nn.Module, inputs: Iterable[Tensor]) -> Iterator[ModelOutput]:
    network = model.student if isinstance(model, DADNet) else model
    network.eval()
    for batch in inputs:
        with matrix_units("float32"):
            yield network(batch)
