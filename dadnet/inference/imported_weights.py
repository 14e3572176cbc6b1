"""What a foreign checkpoint is: layout, size and switches, read off names and shapes."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ModelConfig
from dadnet.models import MODEL_SIZES, FlowCorrection, stream_of
from dadnet.models.public_checkpoints import Branch

FIRST, SECOND, OURS = "first public layout", "second public layout", "layout of this package"
_LOCALISATION = 16  # channels in front of the spatial transformer's first linear layer


class ForeignModel(NamedTuple):
    """The network that a checkpoint was saved from."""

    model: ModelConfig
    num_classes: int
    layout: str


def describe_foreign(
    weights: Mapping[str, Tensor],
    *,
    branch: Branch | None,
    input_size: int | None,
    flow_correction: FlowCorrection | None,
    stn: bool,
) -> ForeignModel:
    """Find the architecture of one stream of a checkpoint.

    Args:
        weights: name: tensor.
        branch: the stream, where there are two.
        input_size: side of the input in pixels; None: by the spatial transformer.
        flow_correction: None: that of the layout.
        stn: False leaves a stored spatial transformer out.

    Raises:
        DadnetError: if it is no MicroFlowNeXt of a known size, or something is not told.
    """
    stream = stream_of(weights, branch)
    shapes = {name: tuple(value.shape) for name, value in stream.items()}
    if missing := sorted({"head.weight", "downsample_layers.0.0.weight"} - set(shapes)):
        raise DadnetError(
            f"convert: expected weights of a MicroFlowNeXt; {', '.join(missing)} is not among "
            f"{len(shapes)} names: {', '.join(sorted(shapes)[:4])}"
        )
    layout = _layout(weights)
    has_stn = "fc_loc.0.weight" in shapes and stn
    attention = "attention.norm.weight" in shapes
    model = ModelConfig(
        model_type="baseline",
        micro_size=_size(shapes),  # type: ignore[arg-type]
        input_size=_input_size(shapes, input_size),
        flow_correction=flow_correction or ("similarity" if layout == FIRST else "inverse"),
        # The public head attends to pooled features; alone, a clip is one token.
        head="pooled" if attention else "linear",
        stn=has_stn,
        channel_attention="downsample_layers.1.1.fc.0.weight" in shapes,
    )
    return ForeignModel(model, shapes["head.weight"][0], layout)


def _layout(weights: Mapping[str, Tensor]) -> str:
    """By names that only one layout has."""
    names = " ".join(weights)
    if ".sobel_" in names:
        return FIRST
    if ".central_" in names or ".mlp." in names:
        return SECOND
    return OURS


def _size(shapes: Mapping[str, tuple[int, ...]]) -> str:
    dims = tuple(shapes.get(f"downsample_layers.{i}.0.weight", (0,))[0] for i in range(4))
    depths = tuple(
        len({n.split(".")[2] for n in shapes if n.startswith(f"stages.{i}.")}) for i in range(4)
    )
    for name, known in MODEL_SIZES.items():
        if known == (depths, dims):
            return name
    raise DadnetError(
        f"convert: expected one of the sizes {', '.join(MODEL_SIZES)}; got {depths} blocks of "
        f"{dims} channels"
    )


def _input_size(shapes: Mapping[str, tuple[int, ...]], given: int | None) -> int:
    told = None
    if "fc_loc.0.weight" in shapes:
        told = 4 * math.isqrt(shapes["fc_loc.0.weight"][1] // _LOCALISATION)
    if given is None and told is None:
        raise DadnetError(
            "convert: expected --input-size PIXELS, since there is no spatial transformer that "
            "would tell it"
        )
    if given is not None and told is not None and given // 4 * 4 != told:
        raise DadnetError(
            f"convert: input_size {given} contradicts the spatial transformer, which was made for "
            f"{told} to {told + 3}"
        )
    return given or told or 0
