"""The compared methods: networks of the literature, hand-crafted features, dummies.

`--model-type NAME` selects one of `dadnet.config.baselines`; `--preset NAME` also selects its
recipe. Each is built by a function of a file here, as `--model FILE.py:function` builds a user's.
"""

from __future__ import annotations

from importlib import import_module

import torch

from dadnet.base.seeding import global_draws
from dadnet.config.baselines import BASELINES, ModelType
from dadnet.models.baselines.fitted import FittedBaseline
from dadnet.models.baselines.network import BaselineNetwork

__all__ = ["BaselineNetwork", "FittedBaseline", "build_baseline"]


def build_baseline(
    name: ModelType, num_classes: int, input_size: int, draws: torch.Generator | None = None
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
    module, _, function = BASELINES[name].function.partition(":")
    build = getattr(import_module(f"{__name__}.{module}"), function)
    if draws is None:
        network: BaselineNetwork = build(num_classes=num_classes, input_size=input_size)
        return network
    with global_draws(draws.initial_seed()):
        return build_baseline(name, num_classes, input_size)
