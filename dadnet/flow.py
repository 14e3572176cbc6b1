"""Optical flow between two frames, and resizing of flow fields.

A flow is ``(2, H, W)`` float32: u to the right, v down, in pixels over the clip (onset to apex).
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.errors import DadnetError

Flow = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

# TV-L1 (Zach, Pock, Bischof 2007) as OpenCV implements it; these are OpenCV's defaults, written
# out so that a change of the library cannot change our numbers silently.
TVL1_PARAMETERS: dict[str, float | int | bool] = {
    "tau": 0.25,
    "lambda": 0.15,
    "theta": 0.3,
    "nscales": 5,
    "warps": 5,
    "epsilon": 0.01,
    "innnerIterations": 30,
    "outerIterations": 10,
    "scaleStep": 0.8,
    "gamma": 0.0,
    "medianFiltering": 5,
    "useInitialFlow": False,
}


def _tvl1(onset: Image, apex: Image) -> Flow:
    method = cv2.optflow.DualTVL1OpticalFlow_create(*TVL1_PARAMETERS.values())  # type: ignore[attr-defined]
    return np.asarray(method.calc(onset, apex, None), dtype=np.float32)


def _dis(onset: Image, apex: Image) -> Flow:
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    return np.asarray(method.calc(onset, apex, None), dtype=np.float32)


def _farneback(onset: Image, apex: Image) -> Flow:
    flow = cv2.calcOpticalFlowFarneback(onset, apex, None, 0.5, 5, 15, 3, 5, 1.2, 0)
    return np.asarray(flow, dtype=np.float32)


FLOW_METHODS: dict[str, Callable[[Image, Image], Flow]] = {
    "tvl1": _tvl1,
    "dis": _dis,
    "farneback": _farneback,
}


def compute_flow(onset: Image, apex: Image, method: str = "tvl1") -> Flow:
    """Optical flow from the onset to the apex frame.

    Args:
        onset: grey frame, shape (H, W), uint8.
        apex: grey frame of the same shape.
        method: ``tvl1``, ``dis`` or ``farneback``.

    Returns:
        Flow of shape (2, H, W) in pixels.

    Raises:
        DadnetError: if the method is unknown, the shapes differ, the frames are equal, or the flow
            is not finite or zero everywhere.
    """
    if method not in FLOW_METHODS:
        raise DadnetError(f"flow: expected one of {', '.join(FLOW_METHODS)}, got {method!r}")
    if onset.shape != apex.shape:
        raise DadnetError(f"frames differ in size: onset {onset.shape}, apex {apex.shape}")
    if np.array_equal(onset, apex):
        raise DadnetError("onset and apex frames are equal: they carry no expression")
    flow = np.ascontiguousarray(FLOW_METHODS[method](onset, apex).transpose(2, 0, 1))
    return check_flow(flow)


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


def resize_flow(flow: npt.NDArray[np.floating], size: int) -> Flow:
    """A flow of side ``size``; the vectors are rescaled with the field.

    Args:
        flow: shape (2, H, W), pixels of that field.
        size: side of the result in pixels.

    Returns:
        Shape (2, size, size), in pixels of the new field.
    """
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


def read_frame(path: str | os.PathLike[str], size: int, crop: tuple[int, ...] | None) -> Image:
    """A frame as a grey square.

    Args:
        path: image file.
        size: side of the result in pixels.
        crop: left, top, width and height in pixels of the image, or None for the whole of it.

    Returns:
        Grey levels, shape (size, size).

    Raises:
        DadnetError: if the file cannot be decoded or the crop reaches outside the image.
    """
    try:
        data = np.fromfile(Path(path), dtype=np.uint8)
    except OSError as error:
        raise DadnetError(f"frame cannot be read: {error.strerror}") from error
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    if image is None:
        raise DadnetError(f"frame cannot be decoded: {Path(path).name}")
    if crop is not None:
        left, top, width, height = crop
        if left + width > image.shape[1] or top + height > image.shape[0]:
            raise DadnetError(
                f"crop {crop} reaches outside a frame of {image.shape[1]} x {image.shape[0]}"
            )
        image = image[top : top + height, left : left + width]
    if image.shape != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8)
