"""The flow of one clip from its frames, which are cropped or aligned; search of the apex."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import FrameFolders
from dadnet.flow import compute
from dadnet.flow.compute import Flow, Image, decode_image
from dadnet.flow.faces import face_matrix, load_landmarker, warp


@dataclass(frozen=True)
class FlowOptions:
    """Parameters of the flows of a store.

    Attributes:
        method: a key of `dadnet.flow.compute.FLOW_METHODS`.
        size: side of the flow in pixels.
        crop: left, top, width, height in pixels of the frame, or None.
        align: ``none``, or the source of the landmarks: ``points:`` or ``model:`` and the digest of
            its file.
    """

    method: str
    size: int
    crop: tuple[int, ...] | None
    align: str = "none"


@dataclass(frozen=True)
class ClipFlow:
    """The flow of a clip and its frames.

    Attributes:
        flow: shape (2, size, size), float32, pixels.
        apex: number of the apex frame, -1 if unknown.
        onset_image, apex_image: grey, shape (size, size); None for a flow from a file.
    """

    flow: Flow
    apex: int
    onset_image: Image | None = None
    apex_image: Image | None = None


def make_clip_flow(
    row: dict[str, Any], options: FlowOptions, landmark_model: Path | None = None
) -> ClipFlow:
    """The flow of one clip, computed from its frames or read from its .npy file.

    Args:
        row: row of the index; ``points`` has landmarks of the onset frame, shape (5, 2).
        options: parameters of the flow.
        landmark_model: file of MediaPipe's Face Landmarker, for ``align`` by a model.

    Raises:
        DadnetError: if a file cannot be read or the flow cannot be used.
    """
    if row["flow_path"]:
        flow = compute.resize_flow(compute.read_flow(Path(row["flow_path"])), options.size)
        return ClipFlow(flow, int(row["apex"]))
    onset, apex, number = read_clip_frames(row, options, landmark_model)
    return ClipFlow(compute.compute_flow(onset, apex, options.method), number, onset, apex)


def read_clip_frames(
    row: dict[str, Any], options: FlowOptions, landmark_model: Path | None = None
) -> tuple[Image, Image, int]:
    """Onset and apex as grey squares, and the number of the apex; see :func:`make_clip_flow`."""
    onset_path = Path(row["onset_path"])
    colour = options.align.startswith("model")
    raw = decode_image(onset_path, colour=colour)
    matrix = None
    if options.align != "none":
        if colour:
            if landmark_model is None:
                raise DadnetError("align: expected the file of a landmark model")
            points = load_landmarker(landmark_model)(raw)
        else:
            points = np.asarray(row["points"], dtype=np.float64)
        matrix = face_matrix(points, options.size)

    def prepare(image: Image) -> Image:
        if image.ndim == 3:  # the weights of grey decoding (BT.601)
            image = np.rint(image @ np.array([0.114, 0.587, 0.299])).astype(np.uint8)
        if matrix is not None:
            return warp(image, matrix, options.size)
        return compute.square(image, options.size, options.crop)

    def same_size(image: Image) -> Image:
        if image.shape != raw.shape:  # two pictures of different scale have no flow in common
            (height, width), (h, w) = raw.shape[:2], image.shape[:2]
            raise DadnetError(f"frames differ in size: onset {width} x {height}, later {w} x {h}")
        return image

    onset = prepare(raw)
    if row["apex_path"]:
        apex = prepare(same_size(decode_image(row["apex_path"], colour=colour)))
        return onset, apex, int(row["apex"])
    if int(row["apex"]) != -1:
        raise DadnetError("the index names no file of the apex")

    def later() -> Iterator[tuple[int, Image]]:
        for number, path in FrameFolders().series(onset_path).items():
            if int(row["onset"]) < number <= int(row["offset"]):
                yield (number, prepare(same_size(decode_image(path, colour=colour))))

    number, apex = compute.flow_peak(onset, later(), int(row["onset"]))
    return onset, apex, number
