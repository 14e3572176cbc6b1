"""What a trained network says of clips: probabilities, and the student's pooled features."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dadnet.folds.dataset import normalise
from dadnet.labels.targets import to_probabilities
from dadnet.labels.tasks import Task
from dadnet.models import DADNet
from dadnet.models.microflownext import ModelOutput
from dadnet.models.precision import matrix_units

Probabilities = npt.NDArray[np.float64]
Features = npt.NDArray[np.float64]
# Evaluation runs in batches of this many clips; in evaluation mode clips do not mix.
EVAL_BATCH = 64


def score(
    model: nn.Module,
    flows: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
    *,
    task: Task,
) -> Probabilities:
    """Probabilities of the classes or labels of clips; a clip's do not depend on the others'.

    Args:
        model: a network of this package; it is put into evaluation mode. Of a dual one only the
            student is run: the teacher has no say in a prediction.
        flows: shape (N, 2, S, S), pixels, on the model's device.
        statistics: as in :func:`dadnet.folds.dataset.normalise`.
        task: what the network was trained for.

    Returns:
        Shape (N, K), float64; of classes, rows sum to 1.
    """
    return score_inputs(model, _inputs(flows, statistics), task=task)


def score_inputs(model: nn.Module, inputs: Iterable[Tensor], *, task: Task) -> Probabilities:
    """Probabilities of clips that are normalised already; see :func:`score`.

    Args:
        model: a network of this package.
        inputs: batches of any size, shape (B, 2, S, S), on the model's device.
        task: what the network was trained for.
    """
    parts = [to_probabilities(out.logits.double(), task) for out in _outputs(model, inputs)]
    return torch.cat(parts).cpu().numpy()


def pooled_features(
    model: nn.Module,
    flows: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Features:
    """The student's pooled features, before its linear layer; arguments as of :func:`score`.

    Returns:
        Shape (N, D), float64.
    """
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
