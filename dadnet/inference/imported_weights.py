"""Layout, size and switches of an imported checkpoint, from the names and shapes of its weights."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ModelConfig
from dadnet.models import MODEL_SIZES, FlowCorrection, stream_of
from dadnet.models.public_checkpoints import Branch, infer_architecture

FIRST, SECOND, OURS = "first public layout", "second public layout", "layout of this package"
_LOCALISATION = 16  # channels in front of the spatial transformer's first linear layer


class ImportedModel(NamedTuple):
    """The network of a checkpoint."""

    model: ModelConfig
    num_classes: int
    layout: str


def describe_weights(
    weights: Mapping[str, Tensor],
    *,
    branch: Branch | None,
    input_size: int | None,
    flow_correction: FlowCorrection | None,
    stn: bool,
) -> ImportedModel:
    """The architecture of one stream of a checkpoint.

    Args:
        weights: tensors by name.
        branch: the stream, if there are two.
        input_size: side of the input in pixels; None: from the spatial transformer.
        flow_correction: None: that of the layout.
        stn: False ignores a stored spatial transformer.

    Raises:
        DadnetError: if it is no MicroFlowNeXt of a known size, or the input size is unknown.
    """
    stream = stream_of(weights, branch)
    shapes = {name: tuple(value.shape) for name, value in stream.items()}
    if missing := sorted({"head.weight", "downsample_layers.0.0.weight"} - set(shapes)):
        raise DadnetError(
            f"convert: expected weights of a MicroFlowNeXt; {', '.join(missing)} is not among "
            f"{len(shapes)} names: {', '.join(sorted(shapes)[:4])}"
        )
    layout = _layout(weights)
    switches = infer_architecture(stream)
    model = ModelConfig(
        model_type="baseline",
        micro_size=_size(shapes),  # type: ignore[arg-type]
        input_size=_input_size(shapes, input_size),
        flow_correction=flow_correction or ("similarity" if layout == FIRST else "inverse"),
        # The public head attends to pooled features, with one token for a single clip.
        head="pooled" if switches.head_attention else "linear",
        stn=switches.use_stn and stn,
        channel_attention=switches.channel_attention,
    )
    return ImportedModel(model, switches.num_classes, layout)


def _layout(weights: Mapping[str, Tensor]) -> str:
    """The layout, from names that only one layout has."""
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


def _input_size(shapes: Mapping[str, tuple[int, ...]], size: int | None) -> int:
    stored = None
    if "fc_loc.0.weight" in shapes:
        stored = 4 * math.isqrt(shapes["fc_loc.0.weight"][1] // _LOCALISATION)
    if size is None and stored is None:
        raise DadnetError(
            "convert: expected --input-size PIXELS, since the checkpoint has no spatial "
            "transformer that determines it"
        )
    if size is not None and stored is not None and size // 4 * 4 != stored:
        raise DadnetError(
            f"convert: input_size {size} contradicts the spatial transformer, which is for sizes "
            f"from {stored} to {stored + 3}"
        )
    return size or stored or 0
