"""Reading many finished folds quickly, as strictly as `FoldRecord.from_json` does slowly.

A sealed text is its canonical JSON with the checksum of that JSON under ``checksum``. So the bytes
without that one entry must hash to it, which needs no parsing; what is then parsed is typed. A
text that is not plainly right is left to the slow path, which knows how to say what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import msgspec

from dadnet.errors import DadnetError
from results.canonical import SCHEMA
from results.records import Experiment, PlannedFold

_CHECKSUM = b'"checksum":"'
_ENTRY = len(_CHECKSUM) + 64 + 2  # with the closing quote and the comma
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Clip(msgspec.Struct, forbid_unknown_fields=True):
    """A prediction as stored; the fields are those of `results.records.Prediction`."""

    clip_id: str
    subject: str
    part: str
    label: str
    prediction: str
    probabilities: list[float] | None


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    experiment: str
    fold: str
    fit_subjects: list[str]
    val_subjects: list[str]
    test_subjects: list[str]
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
    if place < 0:
        return False
    stated = text[place + len(_CHECKSUM) : place + _ENTRY - 2]
    rest = text[:place] + text[place + _ENTRY :]
    return hashlib.sha256(rest).hexdigest().encode() == stated


def read_experiment(data: bytes) -> Experiment | None:
    """Return the experiment of a sealed text, or None where the slow path must judge."""
    if not sealed_whole(data):
        return None
    try:
        payload = json.loads(data)
        if payload.pop("schema") != SCHEMA:
            return None
        del payload["checksum"]
        folds = tuple(PlannedFold(**item) for item in payload.pop("folds"))
        return Experiment(**payload, folds=folds)
    except (DadnetError, TypeError, ValueError, KeyError):
        return None


def read_clips(experiment: Experiment, fold: PlannedFold, data: bytes) -> list[Clip] | None:
    """Return the scored clips of a fold's record, or None where the slow path must judge.

    Args:
        experiment: whose fold it is.
        fold: as planned.
        data: the bytes of the record's file.
    """
    if not sealed_whole(data):
        return None
    try:
        record = _DECODER.decode(data)
    except msgspec.DecodeError:
        return None
    fits = (
        record.schema == SCHEMA
        and record.experiment == experiment.digest
        and record.fold == fold.name
        and record.selection == experiment.selection
        and record.teacher_digest == experiment.teacher_digest
        and sorted(record.test_subjects) == sorted(fold.test_subjects)
        and len(record.predictions) == fold.num_test_clips
        and _names_fit(record)
        and _clips_fit(record, experiment.classes)
    )
    return record.predictions if fits else None


def _names_fit(record: _Record) -> bool:
    sides = (record.fit_subjects, record.val_subjects, record.test_subjects)
    fit, val, test = map(set, sides)
    names = [name for side in sides for name in side]
    apart = fit.isdisjoint(val) and fit.isdisjoint(test)
    honest = record.selection == "oracle" or val.isdisjoint(test)
    return (
        all(len(unique) == len(side) for unique, side in zip((fit, val, test), sides, strict=True))
        and apart
        and honest
        and all(names)
        and all(record.curves)
        and "".join([*names, *record.curves, record.audit]).isprintable()
    )


def _clips_fit(record: _Record, classes: tuple[str, ...]) -> bool:
    known, test = set(classes), set(record.test_subjects)
    seen: set[str] = set()
    for clip in record.predictions:
        given = clip.probabilities
        if (
            clip.subject not in test
            or clip.label not in known
            or clip.prediction not in known
            or not clip.clip_id
            or not (clip.clip_id + clip.part).isprintable()
            or (given is not None and not _is_distribution(given, len(classes)))
        ):
            return False
        seen.add(clip.clip_id)
    return len(seen) == len(record.predictions)


def _is_distribution(given: list[Any], size: int) -> bool:
    return (
        len(given) == size
        and 0 <= min(given)
        and max(given) <= 1
        and abs(sum(given) - 1) <= 0.01 * size
    )
