"""The flags of an ingest, and its index of clips."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.datasets.index import ClipIndex, Rejected, read_index_csv
from dadnet.datasets.official.layout import ApexRule, Options
from dadnet.datasets.official.registry import LAYOUTS, read_dataset
from dadnet.datasets.synthetic.__main__ import write_dataset
from dadnet.datasets.synthetic.plan import Parameters
from dadnet.flow.compute import TVL1_TORCH
from dadnet.flow.faces import read_points
from dadnet.labels.class_sets import known_emotions


@dataclass(frozen=True, kw_only=True)
class IngestFlags:
    """The source of the clips and the parameters of their flow."""

    dataset: str | None = None
    """casme2, casme3, casme3c, fourdme, dfme, samm, smic, ckplus, synthetic, synthetic-macro, or
    with --index the name of the dataset."""
    root: Path | None = None
    """Folder of the dataset in its official layout; default data/synthetic for synthetic."""
    annotation: Path | None = None
    """Annotation file; default: the only one under --root."""
    frames: str = "auto"
    """Folder of the frames, relative to --root; auto looks for the official names."""
    index: Path | None = None
    """Table of your clips instead: subject,label and either flow_path or onset_path,apex_path."""
    out: Location | None = None
    """Folder of the flow store; default flows/DATASET. A copy of flows/NAME for a URI s3://.../NAME."""
    flow: Literal["tvl1", "dis", "farneback"] = "tvl1"
    """Optical flow method."""
    flow_backend: Literal["opencv", "torch"] = "opencv"
    """What computes tvl1: OpenCV on all cores, the reference, or torch, many clips at once on a GPU
    if there is one. Their flows differ by at most 0.05 pixels in the median."""
    size: int = 224
    """Side of the stored flow in pixels."""
    crop: tuple[int, ...] = ()
    """Cut this box out of every frame first: left,top,width,height in pixels."""
    align: Literal["none", "landmarks"] = "none"
    """Align every face to one position and size by five points of its onset frame."""
    landmarks: Path | None = None
    """For --align: a table of the points, columns clip_id,left_eye_x,left_eye_y,right_eye_x,...,
    nose_x,...,mouth_left_x,...,mouth_right_y in pixels of the frame."""
    landmark_model: Path | None = None
    """For --align: the file face_landmarker.task of MediaPipe (the extra `align`) instead."""
    apex: ApexRule = "drop"
    """Without an annotated apex: reject the clip (drop), take the frame in the middle of onset and
    offset (midpoint), or the frame with the largest motion since the onset (flow-peak)."""
    flow_normalisation: Literal["none", "clip", "dataset"] = "none"
    """For --index with flow_path: the normalisation of these flows. The audit refuses `dataset`,
    which depends on test clips."""
    max_rejected: int = 0
    """Stop with exit status 2 if more clips than this are rejected, without those that the
    dataset's authors leave out as well."""
    preview: bool = False
    """Also make contact sheets in STORE/preview: onset, apex, flow as colour wheel, its length."""
    workers: int | None = None
    """Number of parallel Ray Data tasks; default all CPUs; 0: in this process, without Ray."""

    def __post_init__(self) -> None:
        if self.flow_backend == "torch" and (self.flow != "tvl1" or self.workers):
            raise DadnetError(
                "flow_backend torch: expected --flow tvl1 and no --workers, since it runs in this "
                f"process; got --flow {self.flow}, --workers {self.workers}"
            )
        if self.crop and (len(self.crop) != 4 or min(self.crop) < 0 or min(self.crop[2:]) < 1):
            raise DadnetError(f"crop: expected left,top,width,height in pixels, got {self.crop}")
        if self.align == "landmarks" and (self.landmarks is None) == (self.landmark_model is None):
            raise DadnetError(
                "align landmarks: expected either --landmarks FILE.csv or --landmark-model FILE"
            )
        if self.align == "none" and (self.landmarks or self.landmark_model):
            raise DadnetError("landmarks without --align landmarks have no use")
        if self.align == "landmarks" and self.crop:
            raise DadnetError("expected --crop or --align landmarks, got both")
        if self.size < 32:
            raise DadnetError(f"size: expected at least 32, got {self.size}")
        if self.max_rejected < 0:
            raise DadnetError(f"max_rejected: expected 0 or more, got {self.max_rejected}")
        if self.workers is not None and self.workers < 0:
            raise DadnetError(f"workers: expected 0 or more, got {self.workers}")


def method_of(flags: IngestFlags) -> str:
    """The key of `dadnet.flow.compute.FLOW_METHODS`."""
    return TVL1_TORCH if flags.flow_backend == "torch" else flags.flow


def with_points(index: ClipIndex, path: Path | None) -> ClipIndex:
    """The index with the column ``points``; a clip without points is rejected."""
    if path is None:
        return index
    points = read_points(path)
    has = index.clips["clip_id"].isin(list(points)).to_numpy()
    clips = index.clips[has].reset_index(drop=True)
    if clips.empty:
        raise DadnetError(f"landmarks: {path} has points of none of the {len(has)} clips")
    without = tuple(
        Rejected(str(clip_id), f"no landmarks in {path.name}")
        for clip_id in index.clips.loc[~has, "clip_id"]
    )
    index = replace(index, clips=clips, rejected=(*index.rejected, *without))
    index.clips["points"] = [points[str(clip_id)].tolist() for clip_id in clips["clip_id"]]
    return index


def read_index(flags: IngestFlags) -> ClipIndex:
    """The index of the clips that the flags select.

    Raises:
        DadnetError: if the flags contradict each other or nothing usable is found.
    """
    if flags.index is not None:
        if flags.root is not None:
            raise DadnetError("expected --root or --index, got both")
        index = read_index_csv(flags.index, flags.dataset)
    elif flags.dataset is not None:
        root = flags.root
        if root is None and flags.dataset == "synthetic":
            root = Path("data") / "synthetic"
            write_dataset(root, Parameters())
        if root is None and flags.dataset in LAYOUTS:
            raise DadnetError(f"root: expected the folder of {flags.dataset}, got none")
        options = Options(flags.apex, flags.frames, flags.annotation)
        index = read_dataset(flags.dataset, root or Path(), options)
    else:
        raise DadnetError(
            f"expected --dataset NAME --root DIR or --index FILE.csv; datasets are "
            f"{', '.join(LAYOUTS)}"
        )
    index = _known_labels(index)
    if index.clips.empty:
        raise DadnetError(
            f"no clip can be used; {len(index.rejected)} rejected, the first: "
            + (f"{index.rejected[0].clip_id}: {index.rejected[0].reason}" if index.rejected else "")
        )
    return index


def _known_labels(index: ClipIndex) -> ClipIndex:
    """Reject clips whose label is unknown to every class set of their dataset."""
    known = {name: sorted(known_emotions(name)) for name in set(index.clips["dataset"])}
    named = zip(index.clips["dataset"], index.clips["emotion"], strict=True)
    # A clip may have several emotions, joined by "+".
    good = np.array([set(e.split("+")) <= set(known[dataset]) for dataset, e in named], dtype=bool)
    unknown = tuple(
        Rejected(
            str(row["clip_id"]),
            f"unknown label '{row['emotion']}'; known are {', '.join(known[row['dataset']])}",
        )
        for row in index.clips[~good].to_dict("records")
    )
    clips = index.clips[good].reset_index(drop=True)
    return replace(index, clips=clips, rejected=(*index.rejected, *unknown))
