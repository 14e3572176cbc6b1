"""The index: the table of the clips of a dataset, one row per clip, and what was rejected."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dadnet.base.errors import DadnetError
from dadnet.datasets.frames import frame_number

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


def build_index(
    rows: Iterable[Mapping[str, str | int]],
    rejected: Sequence[Rejected] = (),
    *,
    official: bool = False,
) -> ClipIndex:
    """The index of rows with the keys ``INDEX_COLUMNS``, after clips that were rejected before.

    Of several rows with one clip id all are rejected, since the right one is unknown; in an
    `official` annotation the rows that were rejected before count too.
    """
    clips = pd.DataFrame(list(rows), columns=list(INDEX_COLUMNS))
    clips = clips.astype({c: "int64" if c in FRAME_COLUMNS else "str" for c in INDEX_COLUMNS})
    counts = Counter([*clips["clip_id"], *(r.clip_id for r in rejected if official)])
    repeated = clips["clip_id"].map(counts) > 1
    what = "of the annotation" if official else "have this id"
    duplicates = (
        Rejected(clip_id, f"duplicate clip: {counts[clip_id]} rows {what}")
        for clip_id in clips.loc[repeated, "clip_id"]
    )
    return ClipIndex(clips[~repeated].reset_index(drop=True), (*rejected, *duplicates))


def read_index_csv(path: str | os.PathLike[str], dataset: str | None = None) -> ClipIndex:
    """The index of a user's table.

    Columns: ``subject``, ``label`` (becomes the emotion) and either ``flow_path`` (.npy) or
    ``onset_path`` and ``apex_path``; optional ``dataset``, ``clip_id``, ``part`` and
    ``action_units``. Other columns are ignored. Relative paths start at the CSV's folder.

    Args:
        path: CSV file, UTF-8, with a header line.
        dataset: name of the dataset if the CSV has no such column; default: the file name without
            its ending.

    Returns:
        The index; a row without subject or label, or whose file is missing, is rejected.

    Raises:
        DadnetError: if the file cannot be read, columns are missing, or ``dataset`` contradicts
            the CSV.
    """
    path = Path(path)
    table = _read_table(path)
    table["dataset"] = _dataset_names(table, path, dataset)
    rows: list[dict[str, str | int]] = []
    rejected: list[Rejected] = []
    for number, record in enumerate(table.to_dict("records"), start=2):
        row = {str(k): str(v).strip() for k, v in record.items()}
        try:
            rows.append(_user_row(row, path.parent))
        except DadnetError as error:
            where = row.get("clip_id") or f"{row['dataset']}: line {number} of {path.name}"
            rejected.append(Rejected(where, str(error)))
    _name_clips(rows)
    return build_index(rows, rejected)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        # Text throughout: "006" is a subject, "None" or "NA" may be a label.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DadnetError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, pd.errors.ParserError) as error:  # ValueError: not UTF-8, or empty
        reason = str(error).splitlines()[0]
        raise DadnetError(f"{path}: not a CSV file in UTF-8: {reason}") from error
    table.columns = [str(c).strip().lower() for c in table.columns]
    columns = set(table.columns)
    has_paths = "flow_path" in columns or {"onset_path", "apex_path"} <= columns
    if not ({"subject", "label"} <= columns and has_paths):
        raise DadnetError(
            f"{path}: expected the columns subject, label and either flow_path or onset_path "
            f"and apex_path; found {', '.join(table.columns)}"
        )
    if len(columns) != len(table.columns):
        raise DadnetError(f"{path}: a column is given twice: {', '.join(table.columns)}")
    return table


def _dataset_names(table: pd.DataFrame, path: Path, dataset: str | None) -> list[str]:
    if "dataset" not in table.columns:
        return [dataset or path.stem.lower()] * len(table)
    names = [str(n).strip() for n in table["dataset"]]
    if others := sorted({n or "(blank)" for n in names if dataset and n != dataset}):
        raise DadnetError(f"{path}: dataset is {dataset} but the file names {', '.join(others)}")
    if "" in names:
        raise DadnetError(f"{path}: the column dataset is blank in line {names.index('') + 2}")
    return names


def _user_row(row: dict[str, str], folder: Path) -> dict[str, str | int]:
    for column in ("subject", "label"):
        if not row[column]:
            raise DadnetError(f"{column} is blank")
    flow = row.get("flow_path", "")
    names = ("flow_path",) if flow else ("onset_path", "apex_path")
    paths = {name: _existing(folder, row.get(name, ""), name) for name in names}
    prefix = f"{row['dataset']}/"
    subject = prefix + row["subject"].removeprefix(prefix)
    onset, apex = (
        -1 if flow or (number := frame_number(paths[name])) is None else number
        for name in ("onset_path", "apex_path")
    )
    clip_id = row.get("clip_id", "")
    if clip_id:
        clip_id = f"{subject}/" + clip_id.removeprefix(f"{subject}/")
    return {
        "clip_id": clip_id,
        "dataset": row["dataset"],
        "subject": subject,
        "filename": paths["flow_path"].stem if flow else paths["onset_path"].parent.name,
        "onset": onset,
        "apex": apex,
        "offset": -1,
        "emotion": row["label"].lower(),
        "action_units": row.get("action_units", ""),
        "part": row.get("part", ""),
        "onset_path": "" if flow else str(paths["onset_path"]),
        "apex_path": "" if flow else str(paths["apex_path"]),
        "flow_path": str(paths["flow_path"]) if flow else "",
    }


def _existing(folder: Path, name: str, column: str) -> Path:
    if not name:
        raise DadnetError(f"{column} is blank")
    path = (folder / name).resolve()
    if not path.is_file():
        raise DadnetError(f"{column}: no such file: {path}")
    return path


def _name_clips(rows: list[dict[str, str | int]]) -> None:
    """Add the missing clip ids: the file name, with the onset if the name repeats."""
    unnamed = [row for row in rows if not row["clip_id"]]
    counts = Counter(f"{row['subject']}/{row['filename']}" for row in unnamed)
    for row in unnamed:
        name = f"{row['subject']}/{row['filename']}"
        onset = row["onset"]
        row["clip_id"] = f"{name}@{onset}" if counts[name] > 1 and onset != -1 else name
