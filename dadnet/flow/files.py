"""Flows from the files of other tools: NumPy arrays, Middlebury's .flo, and flow images.

A flow image has u, v and optical strain in red, green and blue, as the public data of STSTNet and
HTNet have them. Its bytes are grey values: `ImageScale` says how many pixels they stand for.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt

from dadnet.base.disk import read_regular, stream_regular
from dadnet.base.errors import DadnetError, first_line
from dadnet.config.ingest import SMALLEST, ImageScale
from dadnet.datasets.frames import IMAGE_SUFFIXES
from dadnet.flow.compute import Flow, check_flow, check_plausible

FLOW_SUFFIXES = (".npy", ".npz", ".flo", *IMAGE_SUFFIXES)

_NUMPY, _ZIP = b"\x93NUMPY", b"PK"
_FLO, _FLO_REVERSED = b"PIEH", b"HEIP"  # 202021.25 as float32, little and big endian
_LARGEST = 2**29  # bytes of an array: 3 channels of 4096 x 4096 float64 have 400 MB
_UNKNOWN = 1e9  # Middlebury's mark of a pixel without a flow is larger


@dataclass(frozen=True)
class FlowFile:
    """The flow of a file, and what the store's card has to say of how it was read."""

    flow: Flow
    notes: tuple[str, ...] = ()


def is_image(path: str | Path) -> bool:
    """Whether a flow file is a flow image, by its ending."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def read_flow(path: Path, scale: ImageScale | None = None) -> FlowFile:
    """The flow in a file: float32, (2, H, W), pixels.

    Args:
        path: .npy or .npz: (2, H, W), (H, W, 2), or with the strain as a third channel, which is
            dropped; .flo; or a flow image.
        scale: of flow images; None refuses them.

    Raises:
        DadnetError: if the file cannot be read, or has no flow in pixels.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in IMAGE_SUFFIXES:
            read = _image(path, scale)
        elif suffix == ".flo":
            read = FlowFile(_middlebury(path))
        else:
            read = _array(path)
        flow = check_flow(read.flow)
        if suffix not in IMAGE_SUFFIXES:  # the scale of an image is the user's choice
            check_plausible(flow)
        if min(flow.shape[1:]) < SMALLEST:
            raise DadnetError(
                f"expected a flow of {SMALLEST} x {SMALLEST} pixels or more, got "
                f"{flow.shape[2]} x {flow.shape[1]}"
            )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DadnetError(f"flow file {path.name} cannot be read: {reason}") from error
    except DadnetError as error:
        raise DadnetError(f"flow file {path.name}: {error}") from error
    return FlowFile(flow, read.notes)


def _array(path: Path) -> FlowFile:
    """A NumPy file; pickles are never loaded."""
    with stream_regular(path, follow=True) as file:
        head = file.read(len(_NUMPY))
        if not head.startswith((_NUMPY, _ZIP)):
            found = "a PNG image" if head.startswith(b"\x89PNG") else "another file"
            raise DadnetError(f"cannot be read: expected the array of a .npy file, got {found}")
        file.seek(0)
        try:
            if head.startswith(_NUMPY):
                _check_header(file, os.fstat(file.fileno()).st_size)
                file.seek(0)
            loaded: Any = np.load(file, allow_pickle=False)
            array = _only(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
        except DadnetError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have errors of many types
            reason = first_line(error)
            if "allow_pickle" in reason:
                reason = "expected an array of numbers, got Python objects"
            raise DadnetError(f"cannot be read: {reason}") from error
    if array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        raise DadnetError(
            f"{array.dtype} values are the grey values of a flow image, not pixels; expected "
            "floats in pixels, or the flow image itself as .png"
        )
    if array.dtype.kind not in "fiu":
        raise DadnetError(f"expected an array of numbers, got dtype {array.dtype}")
    flow, dropped = _two_channels(array)
    if _is_grey(flow):
        raise DadnetError(
            "all values are whole numbers from 0 to 255, such as the grey values of a flow image; "
            "expected pixels"
        )
    notes = ("the third channel (strain) of the flow arrays was dropped",) if dropped else ()
    return FlowFile(flow, notes)


def _only(arrays: Any) -> npt.NDArray[Any]:
    """The one array of a .npz file, or the one with the name ``flow``."""
    names = list(arrays.files)
    if "flow" not in names and len(names) != 1:
        raise DadnetError(
            f"expected one array, or one named flow, got {', '.join(names) or 'none'}"
        )
    name = "flow" if "flow" in names else names[0]
    stored = {entry.filename.removesuffix(".npy"): entry for entry in arrays.zip.infolist()}
    if stored[name].file_size > _LARGEST:
        raise DadnetError(f"expected an array of at most {_LARGEST} bytes when unpacked")
    with arrays.zip.open(stored[name]) as entry:
        _check_header(entry, stored[name].file_size)
    array: npt.NDArray[Any] = arrays[name]
    return array


def _check_header(stream: IO[bytes], size: int) -> None:
    """Refuse an array that is larger than its file, before the memory for it is taken.

    Raises:
        ValueError: if there is no header, or none of an array of plain values.
    """
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise DadnetError(f"expected an array of NumPy's format 1.0 or 2.0, got {version}")
    shape, _, kind = read[version](stream)
    declared = math.prod(shape) * kind.itemsize
    if min(shape, default=1) < 0 or declared > min(size, _LARGEST):
        raise DadnetError(f"its header declares {declared} bytes, the file has {size}")


def _two_channels(array: npt.NDArray[Any]) -> tuple[Flow, bool]:
    """u and v of an array (2 or 3, H, W) or (H, W, 2 or 3), and whether a third was dropped."""
    if array.ndim == 3:
        for axis in (0, 2):
            if array.shape[axis] in (2, 3) and min(np.delete(array.shape, axis)) >= SMALLEST:
                channels = np.moveaxis(array, axis, 0)
                return np.asarray(channels[:2], dtype=np.float32), len(channels) == 3
    raise DadnetError(
        f"expected shape (2, H, W) or (H, W, 2), got {array.shape}; a third channel may be the "
        f"strain; H and W are {SMALLEST} pixels or more"
    )


def _is_grey(flow: Flow) -> bool:
    """Whether the values can only be grey values: a flow in pixels has both signs or fractions."""
    finite = bool(np.isfinite(flow).all())
    inside = finite and flow.min() >= 0 and 64 < flow.max() <= 255
    return bool(inside and (flow == np.rint(flow)).all())


def _middlebury(path: Path) -> Flow:
    """A .flo file: magic number, width, height, then u and v of every pixel, little endian.

    Reference: Baker et al., A Database and Evaluation Methodology for Optical Flow, 2011.
    """
    with stream_regular(path, follow=True) as file:
        head = file.read(12)
    if head[:4] == _FLO_REVERSED:
        raise DadnetError("expected a little-endian .flo file, got a big-endian one")
    if head[:4] != _FLO or len(head) < 12:
        raise DadnetError("expected a .flo file, which begins with PIEH, got another file")
    width, height = (int(n) for n in np.frombuffer(head[4:], "<i4"))
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
        raise DadnetError(f"a .flo file of {width} x {height} pixels is damaged")
    expected, size = 12 + 8 * width * height, path.stat().st_size
    if size != expected:
        raise DadnetError(
            f"expected {expected} bytes for {width} x {height} pixels, got {size}: the file is "
            + ("cut off" if size < expected else "too long")
        )
    field = cv2.readOpticalFlow(str(path))
    if field is None:
        raise DadnetError("OpenCV cannot read this .flo file")
    flow: Flow = np.asarray(field, dtype=np.float32).transpose(2, 0, 1)
    if unknown := int((np.abs(flow) > _UNKNOWN).any(axis=0).sum()):
        raise DadnetError(f"{unknown} pixels are marked as unknown (above 1e9)")
    return flow


def _image(path: Path, scale: ImageScale | None) -> FlowFile:
    if scale is None:
        raise DadnetError("expected a flow in pixels (.npy or .flo), got an image")
    data = np.frombuffer(read_regular(path, follow=True), dtype=np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:  # for example an impossible size
        image = None
    if image is None:
        raise DadnetError("the image cannot be decoded")
    if image.dtype != np.uint8:
        raise DadnetError(
            f"expected 8 bits per channel, got {8 * image.dtype.itemsize}; KITTI's flow PNG has "
            "16: save its flow, (value - 32768) / 64 pixels, as .npy or .flo"
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 4 and (image[..., 3] == 255).all():
        image, channels = image[..., :3], 3
    if channels != 3:
        found = {1: "one grey channel", 4: "a transparent image"}.get(channels, f"{channels}")
        raise DadnetError(f"expected red, green and blue as u, v and strain, got {found}")
    blue, green, red = np.moveaxis(image, 2, 0)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        raise DadnetError("red, green and blue are equal: a grey image, not u, v and strain")
    if red.min() == red.max() and green.min() == green.max():
        raise DadnetError("u and v (red and green) are the same everywhere: no motion")
    flow = (np.stack([red, green]).astype(np.float32) - np.float32(scale.zero)) * np.float32(
        scale.step
    )
    note = f"flow images: u and v are red and green, {scale}; blue (strain) was dropped"
    lossy = path.suffix.lower() in (".jpg", ".jpeg")
    return FlowFile(flow, (note, "flow images in JPEG have lost accuracy") if lossy else (note,))
