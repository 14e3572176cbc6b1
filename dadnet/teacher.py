"""The macro-expression teacher: its file, its card, and the networks built around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dadnet.config import ExperimentConfig, ModelConfig
from dadnet.errors import DadnetError
from dadnet.model_file import ModelCard, TrainedModel, build_network, load_model_file
from dadnet.models import DADNet, MicroFlowNeXt, weights_digest

if TYPE_CHECKING:
    from dadnet.baselines import BaselineNetwork


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained MicroFlowNeXt and where it comes from.

    Attributes:
        weights: its state dict.
        model: the configuration that its network was built with.
        classes: class names of its head.
        subjects: every subject it was trained or validated on; the audit compares them with the
            test subjects.
        data_digest: digest of its flow store.
        made_from: digest of data and settings, so that the same request is recognised.
        metrics: what it reached on its own validation subjects.
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
        card = ModelCard(
            kind="teacher",
            model=self.model,
            classes=self.classes,
            subjects=self.subjects,
            data_digest=self.data_digest,
            made_from=self.made_from,
            flow=self.flow,
            metrics=self.metrics,
            origin=self.origin,
        )
        TrainedModel(self.weights, card).save(path)

    def network(self) -> MicroFlowNeXt:
        """The teacher's network with its weights."""
        network = build_network(self.model, len(self.classes), torch.Generator())
        assert isinstance(network, MicroFlowNeXt)  # checked where the file was read
        network.load_state_dict(dict(self.weights))
        return network

    @classmethod
    def load(cls, path: Path) -> Teacher:
        """Read a model file; a kept fold or a converted checkpoint can be a teacher too.

        Raises:
            DadnetError: if there is no such file, it is no model file, or it does not say which
                subjects it has seen.
        """
        try:
            found = load_model_file(path)
        except DadnetError as error:
            raise DadnetError(f"macro weights: {error}") from error
        card = found.card
        if not card.subjects:
            raise DadnetError(
                f"macro weights: {path} does not say which subjects it has seen, so the audit "
                "cannot keep them apart from the test; convert it with --dataset NAME"
            )
        if card.normalisation != "clip":
            raise DadnetError(
                f"macro weights: {path} expects flows normalised by its own fit clips; expected a "
                "teacher of flows that are normalised per clip"
            )
        if card.model.model_type != "baseline":
            raise DadnetError(
                f"macro weights: {path} holds a {card.model.model_type}; expected a MicroFlowNeXt"
            )
        return cls(
            weights=found.weights,
            model=card.model,
            classes=card.classes,
            subjects=card.subjects,
            data_digest=card.data_digest,
            made_from=card.made_from,
            metrics=card.metrics,
            flow=card.flow,
            origin=card.origin,
        )

    def check(self, model: ModelConfig) -> None:
        """Raise unless this teacher fits the experiment.

        Raises:
            DadnetError: if size or input size differ.
        """
        for name, wanted, found in (
            ("macro_size", model.macro_size, self.model.micro_size),
            ("input_size", model.input_size, self.model.input_size),
        ):
            if wanted != found:
                raise DadnetError(
                    f"macro weights: the experiment has {name} {wanted}, the teacher {found}"
                )


def build_model(
    config: ExperimentConfig, num_classes: int, teacher: Teacher | None, draws: torch.Generator
) -> MicroFlowNeXt | DADNet | BaselineNetwork:
    """The network of an experiment.

    Args:
        config: the experiment.
        num_classes: classes of the class set.
        teacher: the frozen stream of a `dad_net`.
        draws: source of the initial weights.

    Raises:
        DadnetError: if the experiment needs a teacher and there is none, or it does not fit.
    """
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation uses the global one
        return _build(config, num_classes, teacher, draws)


def _build(
    config: ExperimentConfig, num_classes: int, teacher: Teacher | None, draws: torch.Generator
) -> MicroFlowNeXt | DADNet | BaselineNetwork:
    student = build_network(config.model, num_classes, draws)
    if config.model.model_type != "dad_net":
        return student
    assert isinstance(student, MicroFlowNeXt)
    if teacher is None:
        raise DadnetError(
            "model dad_net: expected a teacher (--macro-weights FILE), got none; "
            "`python -m orchestration.teacher` trains one, --model-type baseline needs none"
        )
    teacher.check(config.model)
    aligned = config.loss.alignment != "none"
    return DADNet(
        student,
        teacher.network(),
        config.loss.alignment_stages if aligned else (),
        config.loss.alignment_weight,
        config.loss.num_projections,
        generator=draws,
    )
