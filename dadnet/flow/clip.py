"""The flow of one clip from its frames, which are cropped or aligned; search of the apex."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import ImageScale
from dadnet.datasets.frames import FrameFolders
from dadnet.flow import compute
from dadnet.flow.compute import Flow, Image, decode_image
from dadnet.flow.faces import face_matrix, load_landmarker, warp
from dadnet.flow.files import read_flow
from dadnet.flow.video import is_video, video_frames


@dataclass(frozen=True)
class FlowOptions:
    """Parameters of the flows of a store.

    Attributes:
        method: a key of `dadnet.flow.compute.FLOW_METHODS`.
        size: side of the flow in pixels.
        crop: left, top, width, height in pixels of the frame, or None.
        align: ``none``, or the source of the landmarks: ``points:`` or ``model:`` and the digest of
            its file.
        images: what the grey values of flow images stand for; None without flow images.
        video_start: number of the first frame of a video; None without videos.
    """

    method: str
    size: int
    crop: tuple[int, ...] | None
    align: str = "none"
    images: ImageScale | None = None
    video_start: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The parameters as JSON; what came later is left out where it is not used."""
        parameters = asdict(self)
        for name in ("images", "video_start"):
            if parameters[name] is None:
                del parameters[name]
        return parameters


@dataclass(frozen=True)
class ClipFlow:
    """The flow of a clip and its frames.

    Attributes:
        flow: shape (2, size, size), float32, pixels.
        apex: number of the apex frame, -1 if unknown.
        onset_image, apex_image: grey, shape (size, size); None for a flow from a file.
        notes: what the store's card has to say of how a file was read.
    """

    flow: Flow
    apex: int
    onset_image: Image | None = None
    apex_image: Image | None = None
    notes: tuple[str, ...] = ()


def make_clip_flow(
    row: dict[str, Any], options: FlowOptions, landmark_model: Path | None = None
) -> ClipFlow:
    """The flow of one clip, computed from its frames or read from its file.

    Args:
        row: row of the index; ``points`` has landmarks of the onset frame, shape (5, 2).
        options: parameters of the flow.
        landmark_model: file of MediaPipe's Face Landmarker, for ``align`` by a model.

    Raises:
        DadnetError: if a file cannot be read or the flow cannot be used.
    """
    if row["flow_path"]:
        read = read_flow(Path(row["flow_path"]), options.images)
        flow, (_, height, width), size = read.flow, read.flow.shape, options.size
        notes = read.notes
        if (height, width) != (size, size):
            flow = compute.resize_flow(flow, size)
            notes += (f"flows of {width} x {height} pixels were resized to {size} x {size}",)
        return ClipFlow(flow, int(row["apex"]), notes=notes)
    onset, apex, number = read_clip_frames(row, options, landmark_model)
    return ClipFlow(compute.compute_flow(onset, apex, options.method), number, onset, apex)


def read_clip_frames(
    row: dict[str, Any], options: FlowOptions, landmark_model: Path | None = None
) -> tuple[Image, Image, int]:
    """Onset and apex as grey squares, and the number of the apex; see :func:`make_clip_flow`."""
    onset_path, onset_number = Path(row["onset_path"]), int(row["onset"])
    colour = options.align.startswith("model")
    start, video = options.video_start or 0, is_video(onset_path)
    if video:
        # In one pass, and up to the offset: a number beyond the end of the video is an error.
        wanted = sorted({onset_number, int(row["apex"]), int(row["offset"])} - {-1})
        pictures = dict(video_frames(onset_path, wanted, start, colour=colour))
        raw = pictures[onset_number]
    else:
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

    onset, number = prepare(raw), int(row["apex"])
    if row["apex_path"]:
        apex = pictures[number] if video else decode_image(row["apex_path"], colour=colour)
        return onset, prepare(same_size(apex)), number
    if number != -1:
        raise DadnetError("the index names no file of the apex")

    def later() -> Iterator[tuple[int, Image]]:
        if video:
            numbers = range(onset_number + 1, int(row["offset"]) + 1)
            for number, image in video_frames(onset_path, numbers, start, colour=colour):
                yield number, prepare(image)
            return
        for number, path in FrameFolders().series(onset_path).items():
            if onset_number < number <= int(row["offset"]):
                yield (number, prepare(same_size(decode_image(path, colour=colour))))

    number, apex = compute.flow_peak(onset, later(), onset_number)
    return onset, apex, number
