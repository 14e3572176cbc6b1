"""The compared methods: networks of the literature, hand-crafted features, dummies.

`--model-type NAME` selects one; `--preset NAME` also selects its recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch

from dadnet.models.baselines.dual_inception import DualInception
from dadnet.models.baselines.fitted import Dummy, FittedBaseline, LinearMachine, PriorDraw
from dadnet.models.baselines.handcrafted import LBP_SIZE, MDMO_SIZE, lbp_features, mdmo_features
from dadnet.models.baselines.htnet import HTNetLike
from dadnet.models.baselines.network import BaselineNetwork
from dadnet.models.baselines.off_apexnet import OffApexNet
from dadnet.models.baselines.rcn import RCNA
from dadnet.models.baselines.resnet import ResNet20
from dadnet.models.baselines.ststnet import STSTNet

__all__ = ["BASELINES", "BaselineNetwork", "FittedBaseline", "build_baseline"]

BASELINES: Mapping[str, Callable[[int, int], BaselineNetwork]] = MappingProxyType(
    {
        "ststnet": STSTNet,
        "off-apexnet": OffApexNet,
        "rcn-a": RCNA,
        "dual-inception": DualInception,
        "resnet20": ResNet20,
        "htnet-like": HTNetLike,
        "mdmo-svm": partial(LinearMachine, features=mdmo_features, size=MDMO_SIZE),
        "lbp-svm": partial(LinearMachine, features=lbp_features, size=LBP_SIZE),
        "majority": Dummy,
        "prior-draw": PriorDraw,
    }
)


def build_baseline(
    name: str, num_classes: int, input_size: int, draws: torch.Generator | None = None
) -> BaselineNetwork:
    """A baseline with torch's own initial weights.

    Args:
        name: A key of `BASELINES`.
        num_classes: Number of classes K.
        input_size: Side S of the flows, pixels.
        draws: Its seed is that of the initial weights; None takes torch's global generator.

    Raises:
        DadnetError: If the input size does not fit.
    """
    if draws is None:
        return BASELINES[name](num_classes, input_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(draws.initial_seed())
        return BASELINES[name](num_classes, input_size)
