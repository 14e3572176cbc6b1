"""The networks, their loss, and their weight files."""

from dadnet.models.blocks import FlowCorrection, correct_flow
from dadnet.models.dad_net import DADNet, DADNetOutput, get_dad_net
from dadnet.models.loss import LossParts, classification_loss, dad_net_loss, draw_directions, gswd
from dadnet.models.microflownext import (
    MIN_INPUT_SIZE,
    MODEL_SIZES,
    Head,
    MicroFlowNeXt,
    ModelOutput,
    count_parameters,
    get_microflownext,
)
from dadnet.models.public_checkpoints import LoadReport, load_reference_state, stream_of
from dadnet.models.weights import LoadedWeights, load_weights, save_weights, weights_digest

__all__ = [
    "MIN_INPUT_SIZE",
    "MODEL_SIZES",
    "DADNet",
    "DADNetOutput",
    "FlowCorrection",
    "Head",
    "LoadReport",
    "LoadedWeights",
    "LossParts",
    "MicroFlowNeXt",
    "ModelOutput",
    "classification_loss",
    "correct_flow",
    "count_parameters",
    "dad_net_loss",
    "draw_directions",
    "get_dad_net",
    "get_microflownext",
    "gswd",
    "load_reference_state",
    "load_weights",
    "save_weights",
    "stream_of",
    "weights_digest",
]
