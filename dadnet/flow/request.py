"""The flags of an ingest, and its index of clips."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dadnet.base.disk import is_plain_name
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.datasets.apex import ApexRule
from dadnet.datasets.archive import read_archive
from dadnet.datasets.index import ClipIndex, Rejected
from dadnet.datasets.official.layout import Options
from dadnet.datasets.official.registry import LAYOUTS, read_dataset
from dadnet.datasets.own_table import OwnTable, read_own_table
from dadnet.datasets.synthetic.__main__ import write_dataset
from dadnet.datasets.synthetic.plan import Parameters
from dadnet.flow.clip import FlowOptions
from dadnet.flow.compute import TVL1_TORCH, decode_image
from dadnet.flow.faces import read_points
from dadnet.flow.files import SMALLEST, ImageScale, is_image
from dadnet.flow.video import is_video
from dadnet.labels.class_sets import known_emotions
from dadnet.labels.own_labels import OWN_WORDS, plain_word, read_translation


@dataclass(frozen=True, kw_only=True)
class IngestFlags:
    """The source of the clips and the parameters of their flow."""

    dataset: str | None = None
    """casme2, casme3, casme3c, fourdme, dfme, samm, smic, ckplus, synthetic, synthetic-macro, or
    with --index the name of the dataset, or of several datasets together."""
    root: Path | None = None
    """Folder of the dataset in its official layout; default data/synthetic for synthetic. With
    --index: where relative paths of the table start; default: the table's folder."""
    annotation: Path | None = None
    """Annotation file (.xlsx, .xls or CSV); default: the only one under --root."""
    frames: str = "auto"
    """Folder of the frames, relative to --root; auto looks for the official names."""
    index: Path | None = None
    """Table of your clips instead (.xlsx, .xls, CSV; docs/own_data.md): subject,label and either
    flow_path or onset_path,apex_path. With a column dataset it makes one store per dataset."""
    archive: Path | None = None
    """Folder of the public three-dataset archive instead: flow images in
    SUBJECT/u_train|u_test/CLASS. Makes one store per dataset, by the subjects' ids; --dataset
    names them together (default megc2019), or the dataset of all subjects if their ids do not say
    it."""
    columns: tuple[str, ...] = ()
    """With --index: headers of your table for columns of ours: subject=sub,label=emotion,..."""
    encoding: str | None = None
    """Encoding of the --index as text, such as gbk; default: UTF-8 or UTF-16."""
    labels: tuple[str, ...] = ()
    """What the labels of the table mean: 0=negative,1=positive,2=surprise. own: the words of the
    table are the classes, for `--class-set own` or `--class-set FILE.yaml`."""
    out: Location | None = None
    """Folder of the flow store; default flows/DATASET. A copy of flows/NAME for a URI s3://.../NAME."""
    flow: Literal["tvl1", "dis", "farneback"] = "tvl1"
    """Optical flow method."""
    flow_backend: Literal["opencv", "torch"] = "opencv"
    """What computes tvl1: OpenCV on all cores, the reference, or torch, many clips at once on a GPU
    if there is one. Their flows differ by at most 0.05 pixels in the median."""
    size: int | None = None
    """Side of the stored flow in pixels, 8 or more; default 224, with --archive the images' own."""
    image_zero: float = ImageScale.zero
    """Flow images: the grey value of no motion."""
    image_step: float = ImageScale.step
    """Flow images: pixels of motion per grey value. The public images have lost their scale, and
    the networks' z-score makes up for any."""
    video_start: Literal[0, 1] = 0
    """Videos: the number of the first frame."""
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
    """Without an annotated apex, or with one that is not after the onset and up to the offset:
    reject the clip (drop), take the frame in the middle of onset and offset (midpoint), or the
    frame with the largest motion since the onset (flow-peak)."""
    flow_normalisation: Literal["none", "clip", "dataset"] = "none"
    """For --index with flow_path: the normalisation of these flows. The audit refuses `dataset`,
    which depends on test clips. The images of an --archive are normalised by clip."""
    max_rejected: int = 0
    """Stop with exit status 2 if more clips than this are rejected, without those that the
    dataset's authors leave out as well."""
    preview: bool = False
    """Also make contact sheets in STORE/preview: onset, apex, flow as colour wheel, its length."""
    workers: int | None = None
    """Number of parallel Ray Data tasks; default all CPUs; 0: in this process, without Ray."""

    def __post_init__(self) -> None:
        if self.dataset is not None and not is_plain_name(self.dataset):
            raise DadnetError(
                f"dataset: expected a plain name, without / and commas, got {self.dataset!r}"
            )
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
        if self.size is not None and self.size < SMALLEST:
            raise DadnetError(f"size: expected at least {SMALLEST}, got {self.size}")
        ImageScale(self.image_zero, self.image_step)
        if self.index is None and (self.columns or self.encoding):
            raise DadnetError("expected --columns and --encoding with --index only")
        if any("=" not in part for part in self.columns):
            raise DadnetError(
                f"columns: expected subject=HEADER,label=HEADER,..., got {','.join(self.columns)}"
            )
        if self.max_rejected < 0:
            raise DadnetError(f"max_rejected: expected 0 or more, got {self.max_rejected}")
        if self.workers is not None and self.workers < 0:
            raise DadnetError(f"workers: expected 0 or more, got {self.workers}")

    @property
    def normalisation(self) -> str:
        """What the flows were normalised on; every public flow image is stretched to 0..255."""
        archive = self.archive is not None and self.flow_normalisation == "none"
        return "clip" if archive else self.flow_normalisation


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


def flow_options(flags: IngestFlags, clips: pd.DataFrame, align: str) -> FlowOptions:
    """The parameters of the flows of these clips.

    Args:
        flags: of the command.
        clips: rows of the index.
        align: as in `FlowOptions`.

    Raises:
        DadnetError: if the images of an archive differ in size, and none is asked for.
    """
    images = any(is_image(path) for path in clips["flow_path"])
    videos = any(is_video(path) for path in clips["onset_path"])
    size = flags.size or 224
    if flags.archive is not None and flags.size is None:
        shapes = {decode_image(path).shape for path in clips["flow_path"]}
        if len(shapes) > 1 or len(set(next(iter(shapes)))) > 1:
            found = ", ".join(sorted(f"{width} x {height}" for height, width in shapes))
            raise DadnetError(f"size: the images have {found} pixels; expected --size for all")
        size = next(iter(shapes))[0]
    return FlowOptions(
        method_of(flags),
        size,
        flags.crop or None,
        align,
        ImageScale(flags.image_zero, flags.image_step) if images else None,
        flags.video_start if videos else None,
    )


def read_index(flags: IngestFlags) -> ClipIndex:
    """The index of the clips that the flags select.

    Raises:
        DadnetError: if the flags contradict each other or nothing usable is found.
    """
    if flags.archive is not None:
        if flags.index is not None or flags.root is not None:
            raise DadnetError("expected --archive without --index and --root, got both")
        folder, named = flags.archive.expanduser(), bool(flags.labels)
        index = read_archive(folder, flags.dataset, as_named=named)
    elif flags.index is not None:
        index = read_own_table(_own_table(flags, flags.index.expanduser()))
    elif flags.dataset is not None:
        root = flags.root
        if root is None and flags.dataset == "synthetic":
            root = Path("data") / "synthetic"
            write_dataset(root, Parameters())
        if root is None and flags.dataset in LAYOUTS:
            raise DadnetError(f"root: expected the folder of {flags.dataset}, got none")
        options = Options(flags.apex, flags.frames, flags.annotation, replace_apex=True)
        index = read_dataset(flags.dataset, root or Path(), options)
    else:
        raise DadnetError(
            f"expected --dataset NAME --root DIR, --index FILE.csv or --archive DIR; datasets are "
            f"{', '.join(LAYOUTS)}"
        )
    index = _labelled(index, flags.labels)
    if index.clips.empty:
        raise DadnetError(
            f"no clip can be used; {len(index.rejected)} rejected, the first: "
            + (f"{index.rejected[0].clip_id}: {index.rejected[0].reason}" if index.rejected else "")
        )
    return index


def _own_table(flags: IngestFlags, path: Path) -> OwnTable:
    pairs = [part.partition("=") for part in flags.columns]
    columns = {ours.strip(): header.strip() for ours, _, header in pairs}
    return OwnTable(path, flags.dataset, columns, flags.root, flags.encoding, flags.apex)


def _labelled(index: ClipIndex, words: tuple[str, ...]) -> ClipIndex:
    """Translate the labels, then reject clips whose label no class set of their dataset knows.

    With ``own`` the words of the table stay, whatever they are.
    """
    translation = read_translation([word for word in words if word != OWN_WORDS])
    # A clip may have several emotions, joined by "+".
    emotions = [
        "+".join(translation.get(plain_word(part), part) for part in emotion.split("+"))
        for emotion in index.clips["emotion"]
    ]
    index = replace(index, clips=index.clips.assign(emotion=emotions))
    if OWN_WORDS in words:
        return index
    known = {name: sorted(known_emotions(name)) for name in set(index.clips["dataset"])}
    named = zip(index.clips["dataset"], index.clips["emotion"], strict=True)
    good = np.array([set(e.split("+")) <= set(known[dataset]) for dataset, e in named], dtype=bool)
    unknown = tuple(
        Rejected(
            str(row["clip_id"]),
            f"unknown label '{row['emotion']}'; known are {', '.join(known[row['dataset']])}; "
            "--labels WORD=KNOWN,... translates, --labels own keeps the table's words",
        )
        for row in index.clips[~good].to_dict("records")
    )
    clips = index.clips[good].reset_index(drop=True)
    return replace(index, clips=clips, rejected=(*index.rejected, *unknown))
