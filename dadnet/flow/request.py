"""From the flags of an ingest to its index of clips and the parameters of its flow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dadnet.base.errors import DadnetError, grouped
from dadnet.config.ingest import ImageScale, IngestFlags
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
from dadnet.flow.files import is_image
from dadnet.flow.video import is_video
from dadnet.labels.class_sets import known_emotions
from dadnet.labels.own_labels import OWN_WORDS, plain_word, read_translation


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
        reasons = grouped((r.clip_id, r.reason) for r in index.rejected)
        raise DadnetError(f"no clip can be used; {len(index.rejected)} rejected: {reasons}")
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
            f"unknown label '{row['emotion']}' (--labels WORD=KNOWN,... translates, --labels own "
            f"keeps it); known are {', '.join(known[row['dataset']])}",
        )
        for row in index.clips[~good].to_dict("records")
    )
    clips = index.clips[good].reset_index(drop=True)
    return replace(index, clips=clips, rejected=(*index.rejected, *unknown))
