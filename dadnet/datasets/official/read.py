"""From an official annotation and its frames to an index.

A dataset's module describes it by a `Layout`; everything else is here: the annotation's rows, their
correction, onset and apex on disk, and a reason for every row that is left out.
"""

from dataclasses import replace
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.apex import SEARCHED, check_apex, choose_apex
from dadnet.datasets.index import ClipIndex, Notes, Rejected, build_index
from dadnet.datasets.official.corrections import correct
from dadnet.datasets.official.finding import find_annotation, find_source, relative
from dadnet.datasets.official.layout import Clip, Layout, LeftOut, Options, Rows, Source
from dadnet.datasets.official.tables import read_table
from dadnet.labels.action_codes import clean_units

Row = dict[str, str | int]
# First of a clip's folder names where the folder may be anywhere below the frames.
ANYWHERE = "**"


def read_official(layout: Layout, root: Path, options: Options) -> ClipIndex:
    """The index of a dataset in its official layout.

    It has the clips in the order of the annotation, every row left out with its reason, and the
    corrections that were applied.

    Raises:
        DadnetError: if annotation or frames are not found, are ambiguous or cannot be read.
    """
    name = layout.dataset
    if not root.is_dir():
        raise DadnetError(f"{name}: no such folder: {root}")
    table = (layout.rows or table_rows)(layout, root, options)
    source = find_source(layout, root, options)
    rows: list[Row] = []
    rejected: list[Rejected] = []
    notes = Notes()
    for row in table.rows:
        clip_id = f"{name}/?/{row.location}"
        try:
            clip = layout.clip(row)
            clip_id = clip.id(name)
            rows.append(_index_row(clip, clip_id, name, options, source, notes))
        except DadnetError as error:
            rejected.append(Rejected(clip_id, str(error), expected=isinstance(error, LeftOut)))
    index = build_index(rows, rejected, official=True)
    return ClipIndex(
        index.clips,
        index.rejected,
        files=table.files,
        corrections=tuple(table.changes.values()),
        notes=(*table.notes, *notes.lines()),
    )


def table_rows(layout: Layout, root: Path, options: Options) -> Rows:
    """The corrected rows of the one table of a dataset."""
    path = options.annotation or find_annotation(layout, root)
    rows, changes, notes = correct(read_table(path, layout.columns), layout.corrections)
    return Rows(rows, (relative(path, root),), changes, notes)


def _index_row(
    clip: Clip, clip_id: str, dataset: str, options: Options, source: Source, notes: Notes
) -> Row:
    if not clip.emotion:
        raise DadnetError("emotion is blank")
    folder = _folder(clip, source)
    clip = _within(clip, folder, source, notes)
    onset, offset = clip.onset, clip.offset
    if onset is None or offset is None:
        raise DadnetError(f"{'onset' if onset is None else 'offset'} is blank")
    frames = source.folders.frames(folder)
    if clip.apex is not None and not options.replace_apex:
        check_apex(clip.apex, onset, offset)
    apex = choose_apex(clip.apex, onset, offset, frames, options.apex, notes, clip_id)
    return {
        "clip_id": clip_id,
        "dataset": dataset,
        "subject": f"{dataset}/{clip.subject}",
        "filename": clip.filename,
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "emotion": clip.emotion,
        "action_units": clean_units(clip.action_units),
        "part": clip.part,
        "onset_path": str(source.folders.find(folder, onset)),
        "apex_path": "" if apex == SEARCHED else str(source.folders.find(folder, apex)),
        "flow_path": "",
    }


def _folder(clip: Clip, source: Source) -> Path:
    for names in clip.folders:
        if names[0] == ANYWHERE:
            matches = source.folders.named(source.frames, names[1])
            if len(matches) > 1:
                paths = ", ".join(relative(p, source.root) for p in matches[:3])
                raise DadnetError(f"several folders of frames: {paths}")
        else:
            below = source.folders.below(source.frames, names)
            matches = [] if below is None else [below]
        if matches:
            return matches[0]
    tried = " or ".join("/".join(n for n in names if n != ANYWHERE) for names in clip.folders[:2])
    raise DadnetError(f"no folder of frames: {tried} in {relative(source.frames, source.root)}")


def _within(clip: Clip, folder: Path, source: Source, notes: Notes) -> Clip:
    """The clip with onset and offset, in the frame numbers of its folder.

    A folder of one clip may number its frames anew; then the annotation's numbers are relative to
    the onset, if the number of frames is that of the annotation.
    """
    numbers = sorted(source.folders.frames(folder))
    if not numbers:
        raise DadnetError(f"no frames in {relative(folder, source.root)}")
    if not clip.single_clip_folder:
        return clip
    if clip.onset is None or clip.offset is None:
        ends = [name for name in ("onset", "offset") if getattr(clip, name) is None]
        notes.add(f"{' and '.join(ends)} not given: the folder's first and last frame")
        return replace(
            clip,
            onset=numbers[0] if clip.onset is None else clip.onset,
            offset=numbers[-1] if clip.offset is None else clip.offset,
        )
    if clip.onset in numbers or len(numbers) != clip.offset - clip.onset + 1:
        return clip
    shift = numbers[0] - clip.onset
    notes.add("the folder counts its frames anew: onset and apex are taken by their place")
    return replace(
        clip,
        onset=clip.onset + shift,
        apex=None if clip.apex is None else clip.apex + shift,
        offset=clip.offset + shift,
    )
