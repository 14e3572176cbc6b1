"""The network of an experiment: student, and for the dual stream its frozen teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig
from dadnet.inference.model_file import build_network
from dadnet.models import DADNet, MicroFlowNeXt
from dadnet.models.own import OwnNetwork
from dadnet.training.teacher import Teacher

if TYPE_CHECKING:
    from dadnet.models.baselines import BaselineNetwork


@torch.random.fork_rng(devices=[])  # torch's own initialisation uses the global generator
def build_model(
    config: ExperimentConfig, num_classes: int, teacher: Teacher | None, draws: torch.Generator
) -> MicroFlowNeXt | DADNet | BaselineNetwork | OwnNetwork:
    """The network of an experiment; the teacher is the frozen stream of a `dad_net`.

    Raises:
        DadnetError: if the experiment needs a teacher and there is none, or it does not fit.
    """
    student = build_network(config.model, num_classes, draws)
    if config.model.model_type != "dad_net":
        return student
    assert isinstance(student, MicroFlowNeXt | OwnNetwork)
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
