"""Optical flow between two frames, and resizing of flow fields.

A flow is ``(2, H, W)`` float32: u to the right, v down, in pixels over the clip (onset to apex).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError

Flow = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
FlowMethod = Callable[[Image, Image], Flow]

_HALF_MAX = float(np.finfo(np.float16).max)

# TV-L1 in torch (`dadnet.flow.tvl1`): the name of a method of its own, since the flows differ by
# rounding from those of OpenCV.
TVL1_TORCH = "tvl1-torch"
# TV-L1 (Zach, Pock, Bischof 2007) in OpenCV; these are OpenCV's defaults, explicit here so that a
# change of the library cannot change our numbers silently. The flow v minimises
# lambda * |I1(x + v) - I0(x)| + |grad v|  (both summed over the pixels).
TVL1_PARAMETERS: dict[str, float | int | bool] = {
    "tau": 0.25,  # step of the dual ascent; 0.25 is the largest known to converge
    "lambda": 0.15,  # weight of the data: smaller is smoother
    "theta": 0.3,  # how tightly data and smoothness are coupled
    "nscales": 5,  # levels of the pyramid
    "warps": 5,  # linearisations per level
    "epsilon": 0.01,  # change at which the iteration of a warp stops
    "innnerIterations": 30,  # of the dual, between two median filters
    "outerIterations": 10,
    "scaleStep": 0.8,  # from one level of the pyramid to the next
    "gamma": 0.0,  # no change of illumination is fitted
    "medianFiltering": 5,  # side of the filter in pixels
    "useInitialFlow": False,
}


def _tvl1(onset: Image, apex: Image) -> Flow:
    method = cv2.optflow.DualTVL1OpticalFlow_create(*TVL1_PARAMETERS.values())  # type: ignore[attr-defined]
    return np.asarray(method.calc(onset, apex, None), dtype=np.float32)


def _tvl1_torch(onset: Image, apex: Image) -> Flow:
    return np.asarray(tvl1_of_pairs([(onset, apex)])[0].transpose(1, 2, 0))


def tvl1_of_pairs(pairs: Sequence[tuple[Image, Image]]) -> Flow:
    """TV-L1 of many pairs of frames of one size at once, in torch, on the GPU if there is one.

    Args:
        pairs: onset and apex, grey, each of shape (H, W), uint8.

    Returns:
        Flows (N, 2, H, W) in pixels; not looked at, see :func:`check_flow`.
    """
    import torch  # only when needed: the other methods do without it

    from dadnet.flow.tvl1 import tvl1

    device = "cuda" if torch.cuda.is_available() else "cpu"
    onset, apex = (
        torch.from_numpy(np.stack(frames)).to(device) for frames in zip(*pairs, strict=True)
    )
    return tvl1(onset, apex, TVL1_PARAMETERS).cpu().numpy()


def _dis(onset: Image, apex: Image) -> Flow:
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    return np.asarray(method.calc(onset, apex, None), dtype=np.float32)


def _farneback(onset: Image, apex: Image) -> Flow:
    flow = cv2.calcOpticalFlowFarneback(onset, apex, None, 0.5, 5, 15, 3, 5, 1.2, 0)
    return np.asarray(flow, dtype=np.float32)


FLOW_METHODS: dict[str, FlowMethod] = {
    "tvl1": _tvl1, "dis": _dis, "farneback": _farneback, TVL1_TORCH: _tvl1_torch,
}  # fmt: skip


def compute_flow(onset: Image, apex: Image, method: str = "tvl1") -> Flow:
    """Optical flow from the onset to the apex frame.

    Args:
        onset: grey frame, shape (H, W), uint8.
        apex: grey frame of the same shape.
        method: ``tvl1``, ``dis``, ``farneback`` or ``tvl1-torch``.

    Returns:
        Flow of shape (2, H, W) in pixels.

    Raises:
        DadnetError: if the method is unknown, the shapes differ, the frames are equal, or the flow
            is not finite or zero everywhere.
    """
    if method not in FLOW_METHODS:
        raise DadnetError(f"flow: expected one of {', '.join(FLOW_METHODS)}, got {method!r}")
    check_frames(onset, apex)
    flow = np.ascontiguousarray(FLOW_METHODS[method](onset, apex).transpose(2, 0, 1))
    return check_flow(flow)


def check_frames(onset: Image, apex: Image) -> None:
    """Refuse two frames that have no flow, as :func:`compute_flow` says."""
    if onset.shape != apex.shape:
        raise DadnetError(f"frames differ in size: onset {onset.shape}, apex {apex.shape}")
    if np.array_equal(onset, apex):
        raise DadnetError("onset and apex frames are equal: they carry no expression")


def check_flow(flow: npt.NDArray[np.floating]) -> Flow:
    """A flow as float32 (2, H, W); a (H, W, 2) array is transposed.

    Raises:
        DadnetError: if the shape is neither, or a value is not finite, or all are zero.
    """
    if flow.ndim == 3 and flow.shape[0] != 2 and flow.shape[2] == 2:
        flow = flow.transpose(2, 0, 1)
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise DadnetError(f"flow: expected shape (2, H, W) or (H, W, 2), got {flow.shape}")
    if not np.isfinite(flow).all():
        raise DadnetError("flow holds values that are not finite")
    if not flow.any():
        raise DadnetError("flow is zero everywhere")
    return np.ascontiguousarray(flow, dtype=np.float32)


def check_plausible(flow: Flow) -> Flow:
    """A flow (2, H, W) in pixels, unchanged.

    Raises:
        DadnetError: if a vector is longer than the field, which no motion inside it can be.
    """
    _, height, width = flow.shape
    longest = float(np.hypot(*flow).max())
    if longest > np.hypot(height, width):
        raise DadnetError(
            f"flow moves up to {longest:.0f} pixels in a field of {width} x {height}; expected "
            "pixels of this field"
        )
    return flow


def to_half(flow: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """A flow in half precision, as the flow store has it.

    Raises:
        DadnetError: if a value is beyond half precision.
    """
    if np.abs(flow).max() > _HALF_MAX:
        raise DadnetError(f"flow holds values above {_HALF_MAX:g}")
    return np.asarray(flow, dtype=np.float16)


def resize_flow(flow: npt.NDArray[np.floating], size: int) -> Flow:
    """A flow (2, H, W) at (2, size, size); the vectors are rescaled to pixels of the new field."""
    _, height, width = flow.shape
    if (height, width) == (size, size):
        return np.asarray(flow, dtype=np.float32)
    shrinking = size < max(height, width)
    field = cv2.resize(
        np.asarray(flow, dtype=np.float32).transpose(1, 2, 0),
        (size, size),
        interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR,
    ).transpose(2, 0, 1)
    scale = np.array([size / width, size / height], dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(field * scale)


def decode_image(path: str | os.PathLike[str], *, colour: bool = False) -> Image:
    """An image file as grey (H, W), or as (H, W, 3) blue, green, red.

    Raises:
        DadnetError: if the file cannot be read or decoded.
    """
    try:
        data = np.fromfile(Path(path), dtype=np.uint8)
    except OSError as error:
        raise DadnetError(f"frame cannot be read: {error.strerror}") from error
    kind = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
    try:
        image = cv2.imdecode(data, kind) if data.size else None
    except cv2.error:  # for example an impossible size
        image = None
    if image is None:
        raise DadnetError(f"frame cannot be decoded: {Path(path).name}")
    return np.asarray(image, dtype=np.uint8)


def square(image: Image, size: int, crop: tuple[int, ...] | None) -> Image:
    """A grey image, or a part of it, resized to (size, size).

    Raises:
        DadnetError: if the crop reaches outside the image.
    """
    if crop is not None:
        left, top, width, height = crop
        if left + width > image.shape[1] or top + height > image.shape[0]:
            raise DadnetError(
                f"crop {crop} reaches outside a frame of {image.shape[1]} x {image.shape[0]}"
            )
        image = image[top : top + height, left : left + width]
    if image.shape != (size, size):
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))
    return np.asarray(image, dtype=np.uint8)


def flow_peak(
    onset: Image, later: Iterable[tuple[int, Image]], onset_number: int = 0
) -> tuple[int, Image]:
    """The frame with the largest motion since the onset: a replacement for a missing apex.

    Over a clip the head drifts, often further than the face moves. The drift is assumed to be
    linear in time: a share of the last frame's flow, by the elapsed time, is subtracted from the
    flow onset -> frame (DIS, at a side of at most 112 pixels). The rest rises and falls with the
    expression; the frame with the largest mean length is chosen, the first one of equal frames.

    Args:
        onset: grey, shape (S, S).
        later: number and image of the frames after the onset, in order; read once.
        onset_number: number of the onset.

    Returns:
        Number and image of the frame.

    Raises:
        DadnetError: if there is no later frame, or none that differs from the onset.
    """
    side = min(112, onset.shape[0])
    first = square(onset, side, None)
    frames: list[tuple[int, Image]] = []
    flows: list[npt.NDArray[np.float32]] = []
    for number, image in later:
        small = square(image, side, None)
        if not np.array_equal(small, first):
            frames.append((number, image))
            flows.append(_dis(first, small))
    if not frames:
        raise DadnetError("no frame after the onset differs from it: there is no peak of the flow")
    shares = [(number - onset_number) / (frames[-1][0] - onset_number) for number, _ in frames]
    left = [flow - share * flows[-1] for share, flow in zip(shares, flows, strict=True)]
    motion = [float(np.hypot(f[..., 0], f[..., 1]).mean()) for f in left]
    return frames[int(np.argmax(motion))]
