"""The macro-expression teacher: its file, its card, and the networks built around it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dadnet.config import ExperimentConfig, ModelConfig
from dadnet.errors import DadnetError
from dadnet.models import (
    DADNet,
    MicroFlowNeXt,
    get_microflownext,
    load_reference_state,
    load_weights,
    save_weights,
    weights_digest,
)

_CARD = "dadnet_teacher"


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
    """

    weights: Mapping[str, Tensor]
    model: ModelConfig
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    data_digest: str
    made_from: str
    metrics: Mapping[str, float]

    @property
    def digest(self) -> str:
        """Hash of the weights: 16 hexadecimal digits."""
        return weights_digest(self.weights)

    def save(self, path: Path) -> None:
        """Write weights and card as one safetensors file, atomically."""
        card = {
            "model": asdict(self.model),
            "classes": self.classes,
            "subjects": self.subjects,
            "data_digest": self.data_digest,
            "made_from": self.made_from,
            "metrics": dict(self.metrics),
        }
        save_weights(path, self.network(), {_CARD: json.dumps(card, sort_keys=True)})

    def network(self) -> MicroFlowNeXt:
        """The teacher's network with its weights."""
        network = _network(self.model, len(self.classes), torch.Generator())
        load_reference_state(network, dict(self.weights))
        return network

    @classmethod
    def load(cls, path: Path) -> "Teacher":
        """Read a file of :meth:`save`.

        Raises:
            DadnetError: if there is no such file, or it is not a teacher of ours.
        """
        weights, metadata = load_weights(path)
        if _CARD not in metadata:
            raise DadnetError(
                f"macro weights: {path} has no teacher card (subjects, classes, size); expected a "
                "file made by `python -m orchestration.teacher`"
            )
        card: dict[str, Any] = json.loads(metadata[_CARD])
        return cls(
            weights=weights,
            model=ModelConfig(**card["model"]),
            classes=tuple(card["classes"]),
            subjects=tuple(card["subjects"]),
            data_digest=card["data_digest"],
            made_from=card["made_from"],
            metrics=card["metrics"],
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
) -> MicroFlowNeXt | DADNet:
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
) -> MicroFlowNeXt | DADNet:
    student = _network(config.model, num_classes, draws)
    if config.model.model_type == "baseline":
        return student
    if teacher is None:
        raise DadnetError(
            "model dad_net: expected a teacher (--macro-weights FILE), got none; "
            "`python -m orchestration.teacher` trains one, --model-type baseline needs none"
        )
    teacher.check(config.model)
    return DADNet(
        student,
        teacher.network(),
        config.loss.alignment_stages,
        config.loss.alignment_weight,
        config.loss.num_projections,
        generator=draws,
    )


def _network(model: ModelConfig, num_classes: int, draws: torch.Generator) -> MicroFlowNeXt:
    return get_microflownext(
        num_classes,
        model.micro_size,
        model.input_size,
        model.flow_correction,
        model.head,
        use_stn=model.stn,
        channel_attention=model.channel_attention,
        drop_path_rate=model.drop_path,
        generator=draws,
    )
