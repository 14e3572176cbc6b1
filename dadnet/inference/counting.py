"""The size of a network: its trainable numbers, and the operations of one forward pass."""

from __future__ import annotations

import torch
from torch import nn

from dadnet.config.baselines import FITTED_BASELINES
from dadnet.config.model import ModelConfig
from dadnet.models import DADNet


def size_of(model: nn.Module, config: ModelConfig) -> dict[str, int]:
    """Return ``parameters`` and ``flops`` of a network in evaluation mode; nothing if it is fitted.

    ``flops`` are the operations of convolutions and matrix products for one clip, where a
    multiplication and an addition are two. Of a dual network, only the student is counted, since
    it alone is run on test clips; its parameters are all that were trained.
    """
    if config.model_type in FITTED_BASELINES:
        return {}
    from torch.utils.flop_counter import FlopCounterMode  # half a second, and rarely needed

    network = model.student if isinstance(model, DADNet) else model
    numbers = [p for p in model.parameters() if p.requires_grad]
    device = next((p.device for p in numbers), torch.device("cpu"))
    clip = torch.zeros(1, 2, config.input_size, config.input_size, device=device)
    training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(clip)
    network.train(training)
    return {"parameters": sum(p.numel() for p in numbers), "flops": int(counter.get_total_flops())}
