"""The index: the table of the clips of a dataset, one row per clip, and what was rejected."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dadnet.base.errors import DadnetError
from dadnet.datasets.subjects import plain_name

INDEX_COLUMNS = (
    "clip_id", "dataset", "subject", "filename", "onset", "apex", "offset", "emotion",
    "action_units", "part", "onset_path", "apex_path", "flow_path",
)  # fmt: skip
FRAME_COLUMNS = ("onset", "apex", "offset")


@dataclass(frozen=True)
class Rejected:
    """A clip that cannot be used, with the reason.

    Attributes:
        clip_id: id of the clip, or its location if it has none.
        reason: one line for the user.
        expected: the dataset's authors or the literature leave it out as well, so it is not a
            defect of this copy.
    """

    clip_id: str
    reason: str
    expected: bool = False


@dataclass(frozen=True)
class ClipIndex:
    """The usable clips of a dataset, and the rejected ones.

    Attributes:
        clips: one row per clip with the columns ``INDEX_COLUMNS``; ``onset``, ``apex`` and
            ``offset`` are integers (-1: unknown), the others text ("": not used).
        rejected: all other clips, with reasons.
        files: the annotation files, relative to the root.
        corrections: the applied corrections of known errors.
        notes: further remarks for the user, with counts.
    """

    clips: pd.DataFrame
    rejected: tuple[Rejected, ...]
    files: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        missing = [c for c in INDEX_COLUMNS if c not in self.clips.columns]
        unknown = [str(c) for c in self.clips.columns if c not in INDEX_COLUMNS]
        if missing or unknown:
            raise DadnetError(
                f"index: missing columns: {', '.join(missing) or 'none'}; unknown columns: "
                f"{', '.join(unknown) or 'none'}; expected {', '.join(INDEX_COLUMNS)}"
            )
        if repeated := sorted(set(self.clips.loc[self.clips["clip_id"].duplicated(), "clip_id"])):
            raise DadnetError(f"index: clip ids are given twice: {', '.join(repeated[:5])}")

    def by_dataset(self) -> dict[str, "ClipIndex"]:
        """The index of each dataset that has clips, by name, with its own rejected clips.

        The first one also has those of a dataset without any clip.
        """
        names = sorted({str(name) for name in self.clips["dataset"]})
        if len(names) < 2:
            return dict.fromkeys(names, self)
        rejected: dict[str, list[Rejected]] = {name: [] for name in names}
        for one in self.rejected:
            owner = re.split(r"/|: ", one.clip_id, maxsplit=1)[0]
            rejected[owner if owner in rejected else names[0]].append(one)
        return {
            name: replace(
                self,
                clips=self.clips[self.clips["dataset"] == name].reset_index(drop=True),
                rejected=tuple(rejected[name]),
            )
            for name in names
        }


class Notes:
    """Remarks on clips while a table is read, counted by their text."""

    def __init__(self) -> None:
        self._clips: dict[str, list[str]] = {}

    def add(self, remark: str, clip: str = "") -> None:
        """Count one clip under a remark; `clip` is listed, if it is given."""
        self._clips.setdefault(remark, []).append(clip)

    def lines(self) -> tuple[str, ...]:
        """One line per remark: how many clips, and which."""
        return tuple(
            f"{len(clips)} clip{'s' * (len(clips) != 1)}: {remark}"
            + (f": {', '.join(filter(None, clips))}" if any(clips) else "")
            for remark, clips in self._clips.items()
        )


def build_index(
    rows: Iterable[Mapping[str, str | int]],
    rejected: Sequence[Rejected] = (),
    *,
    official: bool = False,
) -> ClipIndex:
    """The index of rows with the keys ``INDEX_COLUMNS``, after clips that were rejected before.

    Names get one Unicode form. Of several rows with one clip id all are rejected, since the right
    one is unknown; in an `official` annotation the rows that were rejected before count too.
    """
    clips = pd.DataFrame(list(rows), columns=list(INDEX_COLUMNS))
    clips = clips.astype({c: "int64" if c in FRAME_COLUMNS else "str" for c in INDEX_COLUMNS})
    for column in ("clip_id", "subject"):
        clips[column] = clips[column].map(plain_name)
    counts = Counter([*clips["clip_id"], *(r.clip_id for r in rejected if official)])
    repeated = clips["clip_id"].map(counts) > 1
    what = "of the annotation" if official else "have this id"
    duplicates = (
        Rejected(clip_id, f"duplicate clip: {counts[clip_id]} rows {what}")
        for clip_id in clips.loc[repeated, "clip_id"]
    )
    return ClipIndex(clips[~repeated].reset_index(drop=True), (*rejected, *duplicates))
