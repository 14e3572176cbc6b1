"""The flags of an ingest: where the clips come from, and the parameters of their flow.

They are parsed before OpenCV and pandas are loaded.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dadnet.base import cli
from dadnet.base.disk import is_plain_name
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location

ApexRule = Literal["drop", "midpoint", "flow-peak"]
SMALLEST = 8  # pixels; side of a stored flow


@dataclass(frozen=True)
class ImageScale:
    """What the grey values of a flow image stand for: flow = (value - zero) * step.

    The public images are stretched to 0..255 for each clip and channel, so their true scale is
    lost. The z-score in front of every network makes up for any scale. With the defaults every
    value is exact in half precision.

    Attributes:
        zero: grey value of no motion.
        step: pixels per grey value.
    """

    zero: float = 127.5
    step: float = 1 / 128

    def __post_init__(self) -> None:
        if not 0 <= self.zero <= 255:
            raise DadnetError(f"image_zero: expected a grey value from 0 to 255, got {self.zero}")
        if not (math.isfinite(self.step) and self.step > 0):
            raise DadnetError(f"image_step: expected pixels above 0, got {self.step}")

    def __str__(self) -> str:
        return f"(value - {self.zero:g}) x {self.step:g} pixels"


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
    """Number of parallel Ray Data tasks; default all CPUs, or, for few clips, 0: in this process,
    without Ray."""
    verbose: bool = False
    """Show the log lines of Ray Data."""

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


INGEST = cli.Command("python -m orchestration.ingest", IngestFlags)
