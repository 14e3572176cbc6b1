"""The macro-expression teacher: its weights, its card and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ModelConfig
from dadnet.inference.model_file import (
    ModelCard,
    SourceNotRunError,
    TrainedModel,
    build_network,
    load_model_file,
)
from dadnet.models import MicroFlowNeXt, weights_digest

# Fields that the card of its model file has under the same name.
_OF_CARD = (
    "model", "classes", "subjects", "data_digest", "made_from", "metrics", "flow", "origin",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained MicroFlowNeXt and its origin.

    Attributes:
        weights: its state dict.
        model: the configuration of its network.
        classes: class names of its head.
        subjects: every subject it was trained or validated on; the audit compares them with the
            test subjects.
        data_digest: digest of its flow store.
        made_from: digest of data and settings, so that a repeated request is recognised.
        metrics: metrics on its validation subjects.
        flow: parameters of its flow store.
        origin: dataset, class set, validation subjects, recipe, chosen epoch.
    """

    weights: Mapping[str, Tensor]
    model: ModelConfig
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    data_digest: str
    made_from: str
    metrics: Mapping[str, float]
    flow: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of the weights: 16 hexadecimal digits."""
        return weights_digest(self.weights)

    def save(self, path: Path) -> None:
        """Write weights and card as one model file, atomically."""
        card = ModelCard(kind="teacher", **{name: getattr(self, name) for name in _OF_CARD})
        TrainedModel(self.weights, card).save(path)

    def network(self) -> MicroFlowNeXt:
        """The teacher's network with its weights."""
        network = build_network(self.model, len(self.classes), torch.Generator())
        assert isinstance(network, MicroFlowNeXt)  # checked where the file was read
        network.load_state_dict(dict(self.weights))
        return network

    @classmethod
    def load(cls, path: Path) -> Teacher:
        """Read a model file; that of a fold or a converted checkpoint can be a teacher too.

        Raises:
            DadnetError: if there is no such file, it is no model file, its card lacks the subjects
                it was trained on, or its model cannot be a teacher.
        """
        try:
            loaded = load_model_file(path)
        except SourceNotRunError as error:
            raise DadnetError(
                f"macro weights: {path} holds a network of its own source; expected a MicroFlowNeXt"
            ) from error
        except DadnetError as error:
            raise DadnetError(f"macro weights: {error}") from error
        card = loaded.card
        if not card.subjects:
            raise DadnetError(
                f"macro weights: {path} does not say which subjects it has seen, so the audit "
                "cannot compare them with the test subjects; convert it with --dataset NAME"
            )
        if card.normalisation != "clip":
            raise DadnetError(
                f"macro weights: {path} needs flows normalised by its fit clips; expected a "
                "teacher of flows that are normalised per clip"
            )
        if card.model.model_type != "baseline":
            raise DadnetError(
                f"macro weights: {path} holds a {card.model.model_type}; expected a MicroFlowNeXt"
            )
        return cls(weights=loaded.weights, **{name: getattr(card, name) for name in _OF_CARD})

    def check(self, model: ModelConfig) -> None:
        """Raise unless this teacher fits the experiment.

        Raises:
            DadnetError: if size or input size differ.
        """
        for name, expected, actual in (
            ("macro_size", model.macro_size, self.model.micro_size),
            ("input_size", model.input_size, self.model.input_size),
        ):
            if expected != actual:
                raise DadnetError(
                    f"macro weights: the experiment has {name} {expected}, the teacher {actual}"
                    f"; give --{name.replace('_', '-')} {actual}"
                    + (", or leave it out: then it is the teacher's" * (name == "input_size"))
                )


@lru_cache(maxsize=2)
def resident_network(teacher: Teacher, device: torch.device) -> MicroFlowNeXt:
    """The teacher's frozen network on the device, once for all folds."""
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation uses the global one
        network = teacher.network().requires_grad_(False).eval().to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
