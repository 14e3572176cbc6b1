"""Reading many finished folds quickly, as strictly as `FoldRecord.from_json` does slowly.

A sealed text is its canonical JSON with the checksum of that JSON under ``checksum``. So the bytes
without that one entry must hash to it, which needs no parsing; what is then parsed is typed. A
text that is not plainly right is left to the slow path, which knows how to say what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated

import msgspec
import numpy as np

from dadnet.base.errors import DadnetError
from results.ledger.records import Experiment, PlannedFold
from results.ledger.sealed import SCHEMA

_CHECKSUM = b'"checksum":"'
_ENTRY = len(_CHECKSUM) + 64 + 2  # with the closing quote and the comma
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Clip(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A prediction as stored; the fields are those of `results.ledger.records.Prediction`."""

    clip_id: str
    subject: str
    part: str
    label: str | list[str]
    prediction: str | list[str]
    probabilities: list[float] | None


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    experiment: str
    fold: str
    fit_subjects: msgspec.Raw
    val_subjects: msgspec.Raw
    test_subjects: msgspec.Raw
    selection: str
    chosen_epoch: _Count | None
    epochs_run: _Count | None
    curves: dict[str, list[float | None]]
    predictions: list[Clip]
    teacher_digest: str | None
    audit: str
    host: dict[str, msgspec.Raw]
    schema: int
    checksum: str


_DECODER = msgspec.json.Decoder(_Record)


def sealed_whole(data: bytes) -> bool:
    """Whether the bytes of a sealed text, less its checksum, hash to the checksum."""
    text = data.removesuffix(b"\n")
    # Keys are sorted, and before this one there are only texts, in which quotes are escaped.
    place = text.find(_CHECKSUM)
    if place < 0 or text[place + _ENTRY - 2 : place + _ENTRY] != b'",':
        return False
    stated = text[place + len(_CHECKSUM) : place + _ENTRY - 2]
    rest = text[:place] + text[place + _ENTRY :]
    return hashlib.sha256(rest).hexdigest().encode() == stated


def read_experiment(data: bytes) -> Experiment | None:
    """Return the experiment of a sealed text, or None where the slow path must judge."""
    if not sealed_whole(data):
        return None
    try:
        parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        folds = _planned(bytes(parts.pop("folds")))
        payload = {name: msgspec.json.decode(part) for name, part in parts.items()}
        if payload.pop("schema") != SCHEMA:
            return None
        del payload["checksum"]
        return Experiment(**payload, folds=folds)
    except (DadnetError, TypeError, ValueError, KeyError):
        return None


@lru_cache(maxsize=1_000)  # experiments on the same data share their folds
def _planned(text: bytes) -> tuple[PlannedFold, ...]:
    return tuple(PlannedFold(**item) for item in msgspec.json.decode(text))


def read_clips(
    experiment: Experiment, files: Iterable[tuple[PlannedFold, bytes | None]]
) -> tuple[int, list[Clip]] | None:
    """Return the scored clips of an experiment's finished folds, if every file is plainly right.

    Args:
        experiment: whose folds these are.
        files: the planned folds with the bytes of their records; None where there is none.

    Returns:
        The number of finished folds and their clips; None where the slow path must judge.
    """
    owners: dict[str, int] = {}
    clips: list[Clip] = []
    places: list[int] = []
    num_done = 0
    for place, (fold, data) in enumerate(files):
        if data is None:
            continue
        if not sealed_whole(data):
            return None
        try:
            record = _DECODER.decode(data)
        except msgspec.DecodeError:
            return None
        if not (
            record.schema == SCHEMA
            and record.experiment == experiment.digest
            and record.fold == fold.name
            and record.selection == experiment.selection
            and record.teacher_digest == experiment.teacher_digest
            and len(record.predictions) == fold.num_test_clips
            and _sides_fit(
                bytes(record.fit_subjects),
                bytes(record.val_subjects),
                bytes(record.test_subjects),
                fold.test_subjects,
                record.selection,
            )
            and all(record.curves)
            and "".join([*record.curves, record.audit]).isprintable()
        ):
            return None
        owners.update(dict.fromkeys(fold.test_subjects, place))
        clips += record.predictions
        places += [place] * fold.num_test_clips
        num_done += 1
    subjects_fit = [owners.get(clip.subject) for clip in clips] == places
    fit = subjects_fit and _clips_fit(clips, experiment.classes, experiment.multi_label)
    return (num_done, clips) if fit else None


@lru_cache(maxsize=10_000)  # the same folds come again in every experiment
def _sides_fit(
    fit_text: bytes, val_text: bytes, test_text: bytes, planned: tuple[str, ...], selection: str
) -> bool:
    try:
        fit, val, test = (
            msgspec.json.decode(text, type=list[str]) for text in (fit_text, val_text, test_text)
        )
    except msgspec.DecodeError:
        return False
    names = (*fit, *val, *test)
    shared = set(val) & set(test) if selection == "oracle" else ()
    return (
        sorted(test) == sorted(planned)
        and len(set(names)) + len(shared) == len(names)
        and all(names)
        and "".join(names).isprintable()
    )


def _labels_fit(clips: list[Clip], classes: tuple[str, ...], multi_label: bool) -> bool:
    """As `Prediction.fits` of each clip; what is there once is looked at once."""
    said = [names for clip in clips for names in (clip.label, clip.prediction)]
    kinds = list if multi_label else str
    if not all(isinstance(names, kinds) for names in said):
        return False
    if not multi_label:
        return set(said) <= set(classes)
    given = set(map(tuple, said))
    return all(tuple(name for name in classes if name in names) == names for names in given)


def _clips_fit(clips: list[Clip], classes: tuple[str, ...], multi_label: bool) -> bool:
    names = {clip.clip_id for clip in clips}
    if not (
        len(names) == len(clips)
        and "" not in names
        and _labels_fit(clips, classes, multi_label)
        and "".join([clip.clip_id + clip.part for clip in clips]).isprintable()
    ):
        return False
    given = [clip.probabilities for clip in clips if clip.probabilities is not None]
    if {len(row) for row in given} - {len(classes)}:
        return False
    table = np.array(given, dtype=np.float64).reshape(-1, len(classes))
    apart = np.zeros(len(table)) if multi_label else np.abs(table.sum(axis=1) - 1)
    inside = (table >= 0).all() and (table <= 1).all()
    return bool(inside and (apart <= 0.01 * len(classes)).all())
