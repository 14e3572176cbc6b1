"""Predictions of one trained network, or of an ensemble with averaged probabilities."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError, first_line
from dadnet.flow.compute import check_flow, resize_flow, to_half
from dadnet.inference.model_file import TrainedModel, load_model_file
from dadnet.inference.score import score
from dadnet.labels.tasks import task_of, text_of

Probabilities = npt.NDArray[np.float64]
Field = npt.NDArray[np.floating]

# In evaluation mode clips are independent, so this changes only memory and speed.
_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """The prediction for a clip.

    Attributes:
        label: name of the most probable class; with several labels, those with a probability of at
            least 0.5, joined by "+", or ``none``.
        confidence: its probability; with several labels, the smallest one of their decisions.
        probabilities: probability of every class or label, by name, in the order of the outputs.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float]


class Predictor:
    """One or several trained networks with the same classes.

    Args:
        models: the networks; each resizes and normalises the flows by its own card.
        device: torch's name of the device.

    Raises:
        DadnetError: if there is none, or their classes differ.
    """

    def __init__(self, models: Sequence[TrainedModel], device: str = "cpu") -> None:
        if not models:
            raise DadnetError("weights: expected at least one model, got none")
        for model in models:
            if model.card.multi_label != models[0].card.multi_label:
                raise DadnetError(
                    f"weights: {models[0].name} and {model.name} cannot be averaged: one has a "
                    "class for a clip, the other several labels"
                )
            if model.card.classes != models[0].card.classes:
                raise DadnetError(
                    f"weights: expected models of the same classes, got "
                    f"{', '.join(models[0].card.classes)} in {models[0].name} and "
                    f"{', '.join(model.card.classes)} in {model.name}"
                )
        self.models = tuple(models)
        self.task = task_of(models[0].card.multi_label)
        self.device = _device(device)
        self._networks = [model.network().to(self.device) for model in models]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the outputs."""
        return self.models[0].card.classes

    def predict(self, flow: Field) -> Prediction:
        """Classify one clip.

        Args:
            flow: flow from onset to apex, shape (2, H, W) or (H, W, 2): u right, v down, pixels.

        Raises:
            DadnetError: if it is no such flow.
        """
        return next(self.predict_many([flow]))

    def predict_many(self, flows: Iterable[Field]) -> Iterator[Prediction]:
        """Classify clips in batches; a clip's prediction does not depend on the other clips.

        Args:
            flows: as in :meth:`predict`; sizes may differ.

        Raises:
            DadnetError: if one is no flow.
        """
        remaining = iter(flows)
        while batch := list(islice(remaining, _BATCH)):
            probabilities = self.probabilities(batch)
            for row, decision in zip(probabilities, self.task.decide(probabilities), strict=True):
                named = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
                sure = np.maximum(row, 1 - row).min() if self.task.multi_label else row.max()
                label = text_of(self.task.named(decision, self.classes))
                yield Prediction(label, float(sure), named)

    def probabilities(self, flows: Sequence[Field]) -> Probabilities:
        """Probabilities of classes or labels, the mean over the models.

        Args:
            flows: N flows as in :meth:`predict`.

        Returns:
            Shape (N, K); for classes, rows sum to 1.
        """
        prepared: dict[tuple[int, int], Tensor] = {}
        total = np.zeros((len(flows), len(self.classes)))
        for model, network in zip(self.models, self._networks, strict=True):
            stored = int(model.card.flow.get("size") or 0)  # of the flow store; 0: unknown
            sizes = stored, model.card.model.input_size
            if sizes not in prepared:
                prepared[sizes] = torch.from_numpy(np.stack([prepare(f, *sizes) for f in flows]))
            total += self._score(model, network, prepared[sizes])
        mean: Probabilities = total / len(self.models)
        return mean

    def _score(self, model: TrainedModel, network: torch.nn.Module, flows: Tensor) -> Probabilities:
        statistics = model.statistics()
        if statistics is not None:
            statistics = (statistics[0].to(self.device), statistics[1].to(self.device))
        return score(network, flows.to(self.device), statistics, task=self.task)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DadnetError(f"device: {name} cannot be used: {first_line(error)}") from error
    return device


def prepare(flow: Field, stored: int, input_size: int) -> npt.NDArray[np.float16]:
    """A flow as in training: resized by way of the flow store's size and half precision.

    Args:
        flow: shape (2, H, W) or (H, W, 2), pixels.
        stored: side of the flows in the model's flow store; 0: unknown.
        input_size: side S of the model's input.

    Returns:
        Shape (2, S, S), pixels.

    Raises:
        DadnetError: if it is no flow.
    """
    field = check_flow(np.asarray(flow))
    if stored:
        field = resize_flow(field, stored)
    return to_half(resize_flow(to_half(field), input_size))


def load_model(
    weights: str | Path | Sequence[str | Path], *, device: str = "cpu", run_source: bool = False
) -> Predictor:
    """Load a trained model, or several as an ensemble.

    >>> model = load_model("runs/casme2/0123456789abcdef/weights/casme2%2Fsub01.safetensors")
    ... # doctest: +SKIP
    >>> model.predict(numpy.load("clip.npy")).label  # doctest: +SKIP
    'surprise'

    Args:
        weights: one or several model files, or the folder of an experiment in the ledger with kept
            weights; all of them are averaged.
        device: torch's name of the device.
        run_source: whether source of a user's own network in the files may be run.

    Raises:
        DadnetError: if a file cannot be used, or the classes differ.
    """
    paths = [weights] if isinstance(weights, str | Path) else list(weights)
    files = [file for path in paths for file in find_weights(Path(path))]
    return Predictor([load_model_file(file, run_source=run_source) for file in files], device)


def find_weights(path: Path) -> list[Path]:
    """The model file of a path, or those of an experiment's folder.

    Raises:
        DadnetError: if a folder has none.
    """
    if not path.is_dir():
        return [path]
    folder = path / "weights" if (path / "weights").is_dir() else path
    if found := sorted(folder.glob("*.safetensors")):
        return found
    raise DadnetError(
        f"weights: expected model files (.safetensors) in {folder}, got none; "
        "`run_loso --keep-weights best` keeps those of every fold"
    )
