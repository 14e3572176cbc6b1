"""The inputs of `predict`: a flow, two frames, a folder of either, or a flow store."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError, listed
from dadnet.flow import compute
from dadnet.flow.files import read_flow

_FLOW_SUFFIXES = {".npy", ".npz", ".flo"}
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_STORE_CARD = "card.json"
# Supported parameters of a store; with other ones frames are refused.
_KNOWN = {"method", "size", "crop", "normalisation", "tvl1", "opencv", "against_opencv"}
_ABSENT: tuple[object, ...] = (None, "none", False, "", [], {})


@dataclass(frozen=True, eq=False)
class InputClip:
    """One clip to classify.

    Attributes:
        name: its clip id, or its path.
        subject: its subject; empty: unknown.
        flow: shape (2, H, W), pixels.
    """

    name: str
    subject: str
    flow: npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Inputs:
    """All clips of one call, and warnings about files that were left out."""

    clips: tuple[InputClip, ...]
    warnings: tuple[str, ...] = ()


def read_inputs(paths: Sequence[Path], flow: Mapping[str, Any], input_size: int) -> Inputs:
    """Read the paths of the command line.

    Args:
        paths: one or more files of flows (.npy, .npz, .flo), the onset and the apex frame, a
            folder, or a flow store.
        flow: parameters of the flows, from the model's card; empty: unknown.
        input_size: side of the flow of frames if the card has none.

    Raises:
        DadnetError: if a path is none of these, or a file cannot be used.
    """
    for path in paths:
        if not path.exists():
            raise DadnetError(f"input: there is no {path}")
    if len(paths) == 1 and paths[0].is_dir():
        if (paths[0] / _STORE_CARD).is_file():
            return _from_store(paths[0])
        return _from_folder(paths[0], flow, input_size)
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes <= _FLOW_SUFFIXES:
        return Inputs(tuple(_from_array(path, str(path)) for path in paths))
    if len(paths) == 2 and suffixes <= set(FRAME_SUFFIXES):
        clip = _from_frames(paths[0], paths[1], str(paths[1]), flow, input_size)
        return Inputs((clip,), _frame_warnings(flow, input_size))
    raise DadnetError(
        "input: expected .npy files, an onset and an apex frame, a folder or a flow store; got "
        f"{listed(paths)}"
    )


def _from_store(path: Path) -> Inputs:
    from dadnet.flow.store import load_flow_store  # pyarrow, only when needed

    store = load_flow_store(path)
    rows = zip(store.clips["clip_id"], store.clips["subject"], store.flows, strict=True)
    return Inputs(tuple(InputClip(str(name), str(subject), flow) for name, subject, flow in rows))


def _from_folder(folder: Path, flow: Mapping[str, Any], input_size: int) -> Inputs:
    """Every flow file below the folder, and every pair of onset and apex frames."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not f.name.startswith(".")]
    arrays = [f for f in files if f.suffix in _FLOW_SUFFIXES]
    clips, used = [_from_array(f, str(f.relative_to(folder))) for f in arrays], set(arrays)
    warnings: tuple[str, ...] = ()
    for onset, apex in _pairs(files):
        name = str(onset.parent.relative_to(folder))
        clips.append(
            _from_frames(onset, apex, folder.name if name == "." else name, flow, input_size)
        )
        used |= {onset, apex}
        warnings = _frame_warnings(flow, input_size)
    if not clips:
        raise DadnetError(
            f"input: expected .npy files, or frames named onset.* and apex.*, in {folder} or its "
            f"subfolders; got {len(files)} other files"
        )
    others = Counter(f.suffix or f.name for f in files if f not in used)
    if others:
        kinds = listed(f"{number} {kind}" for kind, number in sorted(others.items()))
        warnings += (f"files in {folder} that are no clips were left out: {kinds}",)
    return Inputs(tuple(clips), warnings)


def _pairs(files: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    named: dict[Path, dict[str, Path]] = {}
    for file in files:
        if file.suffix.lower() in FRAME_SUFFIXES and file.stem.lower() in ("onset", "apex"):
            pair = named.setdefault(file.parent, {})
            if file.stem.lower() in pair:
                raise DadnetError(f"input: expected one {file.stem.lower()} frame in {file.parent}")
            pair[file.stem.lower()] = file
    for folder, pair in named.items():
        if len(pair) != 2:
            raise DadnetError(f"input: expected onset and apex in {folder}, got {', '.join(pair)}")
        yield pair["onset"], pair["apex"]


def _from_array(path: Path, name: str) -> InputClip:
    try:
        flow = read_flow(path).flow
        compute.to_half(flow)  # to report values beyond half precision with their file
    except DadnetError as error:
        raise DadnetError(f"input: {path}: {error}") from error
    return InputClip(name, "", flow)


def _from_frames(
    onset: Path, apex: Path, name: str, flow: Mapping[str, Any], input_size: int
) -> InputClip:
    _check_parameters(flow)
    size = int(flow.get("size") or input_size)
    crop = tuple(flow["crop"]) if flow.get("crop") else None
    try:
        frames = [compute.square(compute.decode_image(path), size, crop) for path in (onset, apex)]
        field = compute.compute_flow(frames[0], frames[1], str(flow.get("method") or "tvl1"))
    except DadnetError as error:
        raise DadnetError(f"input: {onset} and {apex}: {error}") from error
    return InputClip(name, "", compute.to_half(field))


def _check_parameters(flow: Mapping[str, Any]) -> None:
    """Refuse frames if their flow would differ from that of the training."""
    more = {k: v for k, v in flow.items() if k not in _KNOWN and v not in _ABSENT}
    if flow.get("tvl1") not in (None, compute.TVL1_PARAMETERS):
        more["tvl1"] = flow["tvl1"]
    if more:
        raise DadnetError(
            "input: the flows of these weights were made with "
            + ", ".join(f"{k}={v}" for k, v in sorted(more.items()))
            + "; expected a flow store made by the same ingest, not frames"
        )


def _frame_warnings(flow: Mapping[str, Any], input_size: int) -> tuple[str, ...]:
    if flow.get("method"):
        return ()
    return (
        "the weights have no parameters of their flows; used here: TV-L1 of the whole frames at "
        f"{input_size} x {input_size}",
    )
