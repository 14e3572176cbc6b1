"""Reading very many finished folds quickly, as strictly as `FoldRecord.from_json` reads them.

A sealed text is its canonical JSON with the checksum of that JSON under ``checksum``. So the bytes
without that one entry must hash to it, which needs no parsing. Then msgspec checks the types of
all fields, and what `FoldRecord` checks besides is checked of all clips at once. Anything
unexpected falls back to `FoldRecord.from_json`, which explains the error.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import GenericAlias
from typing import Any, Literal

import msgspec
import numpy as np

from dadnet.base.digests import canonical_json
from results.ledger.records import Experiment, FoldRecord, Host, PlannedFold, Prediction
from results.ledger.sealed import SCHEMA, unchecked

_Names = tuple[str, ...]
_CHECKSUM = b'"checksum":"'
_ENTRY = len(_CHECKSUM) + 64 + 2  # with the closing quote and the comma
_SEAL = {"schema": Literal[1], "checksum": str}


class _Host(Host, gc=False):
    versions: msgspec.Raw = msgspec.Raw(b"")  # type: ignore[assignment]  # parsed once for many


_RECORD: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    unchecked(
        FoldRecord, predictions=GenericAlias(list, unchecked(Prediction)), host=_Host, **_SEAL
    )
)


def sealed_whole(data: bytes) -> bool:
    """Whether the bytes of a sealed text, less its checksum, hash to the checksum."""
    text = data.removesuffix(b"\n")
    # Keys are sorted, and before this one there are only texts, in which quotes are escaped.
    start = text.find(_CHECKSUM)
    end = start + _ENTRY
    if start < 0 or text[end - 2 : end] != b'",':
        return False
    stated = text[start + len(_CHECKSUM) : end - 2]
    return hashlib.sha256(text[:start] + text[end:]).hexdigest().encode() == stated


def read_experiment(data: bytes) -> Experiment | None:
    """Return the experiment of a sealed text, or None where `Experiment.from_json` must judge."""
    if not sealed_whole(data):
        return None
    try:
        payload = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        folds = _planned(bytes(payload.pop("folds")))
        fields = {name: msgspec.json.decode(part) for name, part in payload.items()}
        if fields.pop("schema") != SCHEMA:
            return None
        del fields["checksum"]
        return Experiment(**fields, folds=folds)
    except (TypeError, ValueError, KeyError):
        return None


@lru_cache(maxsize=1_000)  # experiments on the same data share their folds
def _planned(text: bytes) -> tuple[PlannedFold, ...]:
    return msgspec.json.decode(text, type=tuple[PlannedFold, ...])


@dataclass(frozen=True)
class Made:
    """How the finished folds of an experiment were made, as far as their records say.

    Attributes:
        seconds: of training, of a stack each fold's share; None unless every record says them.
        last: when the last fold was begun, in ISO format.
        parameters: trainable numbers of the network; flops: operations of its forward pass of one
            clip. None where the folds differ.
    """

    seconds: float | None = None
    last: str | None = None
    parameters: int | None = None
    flops: int | None = None

    @classmethod
    def of(cls, hosts: Sequence[Host]) -> Made:
        """Return what these hosts of records say together."""
        seconds = [None if h.seconds is None else h.seconds / (h.stack or 1) for h in hosts]
        known = [number for number in seconds if number is not None]
        return cls(
            round(sum(known), 3) if known and len(known) == len(hosts) else None,
            max((h.started_at for h in hosts if h.started_at is not None), default=None),
            _only({h.parameters for h in hosts}),
            _only({h.flops for h in hosts}),
        )

    @classmethod
    def of_records(cls, records: Iterable[FoldRecord]) -> Made:
        """Return what the hosts of records say together."""
        return cls.of([msgspec.convert(record.host, Host) for record in records])


def _only(found: set[int | None]) -> int | None:
    return found.pop() if len(found) == 1 else None


def read_clips(
    experiment: Experiment, files: Iterable[tuple[PlannedFold, bytes | None]]
) -> tuple[int, list[Prediction], Counter[bytes], Made] | None:
    """Return the scored clips of an experiment's finished folds, if every file is plainly right.

    Args:
        experiment: of these folds.
        files: the planned folds with the bytes of their records; None where there is none.

    Returns:
        The number of finished folds; their clips, which have the fields of `Prediction` but not its
        methods; how many folds have which versions (JSON of the host's); and how they were made.
        None where `FoldRecord.from_json` must judge.
    """
    fold_of: dict[str, int] = {}  # test subject -> number of its fold
    clips: list[Prediction] = []
    expected: list[int] = []
    versions: Counter[bytes] = Counter()
    hosts: list[Host] = []
    num_done = 0
    for number, (fold, data) in enumerate(files):
        if data is None:
            continue
        if not sealed_whole(data):
            return None
        try:
            record = _RECORD.decode(data)
        except (msgspec.DecodeError, OverflowError, RecursionError):
            return None
        text = bytes(record.host.versions)
        if not _versions_fit(text) or not _record_fits(record, experiment, fold):
            return None
        fold_of.update(dict.fromkeys(fold.test_subjects, number))
        clips += record.predictions
        expected += [number] * fold.num_test_clips
        versions[text] += 1
        hosts.append(record.host)
        num_done += 1
    subjects_fit = [fold_of.get(clip.subject) for clip in clips] == expected
    fit = subjects_fit and _clips_fit(clips, experiment.classes, experiment.multi_label)
    return (num_done, clips, versions, Made.of(hosts)) if fit else None


@lru_cache(maxsize=1_000)
def _versions_fit(text: bytes) -> bool:
    try:
        return not text or msgspec.json.decode(text, type=dict[str, str]) is not None
    except msgspec.DecodeError:
        return False


def versions_of(record: FoldRecord) -> bytes:
    """Return the versions of a record's host as its JSON text has them; empty without."""
    versions = record.host.get("versions")
    return canonical_json(versions).encode() if isinstance(versions, Mapping) else b""


def code_of(record: FoldRecord) -> str:
    """Return the digest of the code that made a record; "unknown" where the record has none."""
    return code_in(record.host)


def code_in(host: Mapping[str, Any]) -> str:
    """Return the digest of the code in the circumstances of a record, or "unknown"."""
    versions = host.get("versions")
    return str(versions.get("code", "unknown")) if isinstance(versions, Mapping) else "unknown"


def _record_fits(record: Any, experiment: Experiment, fold: PlannedFold) -> bool:
    sides = (record.fit_subjects, record.val_subjects, record.test_subjects)
    return (
        record.experiment == experiment.digest
        and record.fold == fold.name
        and record.selection == experiment.selection
        and record.teacher_digest == experiment.teacher_digest
        and len(record.predictions) == fold.num_test_clips
        and _sides_fit(*sides, fold.test_subjects, record.selection == "oracle")
        and all(record.curves)
        and "".join([*record.curves, record.audit]).isprintable()
    )


@lru_cache(maxsize=10_000)  # the same folds come again in every experiment
def _sides_fit(fit: _Names, val: _Names, test: _Names, planned: _Names, oracle: bool) -> bool:
    names = (*fit, *val, *test)
    shared = set(val) & set(test) if oracle else ()
    return (
        sorted(test) == sorted(planned)
        and len(set(names)) + len(shared) == len(names)
        and all(names)
        and "".join(names).isprintable()
    )


def _clips_fit(clips: list[Prediction], classes: _Names, multi_label: bool) -> bool:
    names = {clip.clip_id for clip in clips}
    one_of_each = {(clip.label, clip.prediction): clip for clip in clips}
    if not (
        len(names) == len(clips)
        and "" not in names
        and all(Prediction.fits(clip, classes, multi_label) for clip in one_of_each.values())
        and "".join([clip.clip_id + clip.part for clip in clips]).isprintable()
    ):
        return False
    probabilities = [clip.probabilities for clip in clips if clip.probabilities is not None]
    if {len(row) for row in probabilities} - {len(classes)}:
        return False
    table = np.array(probabilities, dtype=np.float64).reshape(-1, len(classes))
    errors = np.zeros(len(table)) if multi_label else np.abs(table.sum(axis=1) - 1)
    inside = (table >= 0).all() and (table <= 1).all()
    return bool(inside and (errors <= 0.01 * len(classes)).all())
