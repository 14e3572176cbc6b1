"""Which rows of a group may be ranked together, and what else a reader must know of a row.

Only rows over the same clips with the same truth are ranked together. The clips of most rows are
the measure; a row over other clips, or with another truth, stands apart and says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from dadnet.datasets.literature import difference_from_literature
from results.leaderboard.rows import Row
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment
from results.statistics.counts import Counts, Truth

_PACKAGE = "dadnet-loso"
# Protocols that score every clip of the set.
_WHOLE = ("loso", "cde", "group-kfold")


def with_notes(members: Sequence[Row]) -> list[Row]:
    """Return the rows of a group, each with the reason why it stands apart, if it does."""
    complete = [row for row in members if row.complete and row.truth]
    if not complete:
        return list(members)
    measure = _measure(complete)
    noted = []
    for row in members:
        if row.complete and row.truth:
            apart = _difference(measure, row)
            row = replace(row, apart=apart, notes=(*row.notes, *_literature(row)))
        noted.append(row)
    return noted


def mixed_versions(versions: Mapping[bytes, int]) -> tuple[str, ...]:
    """Return a note if the folds of a row were made by several versions of code or packages.

    Args:
        versions: JSON of the versions of code and packages, as a fold's record has it -> number of
            folds; empty text where a record says nothing.
    """
    if len(versions) < 2:
        return ()
    read = [
        (msgspec.json.decode(text, type=dict[str, str]) if text else {}, number)
        for text, number in versions.items()
    ]
    packages = sorted({name for known, _ in read for name in known}, key=_own_first)
    mixed = []
    for name in packages:
        counts: Counter[str] = Counter()
        for known, number in read:
            counts[known.get(name, "unknown")] += number
        if len(counts) > 1:
            folds = ", ".join(f"{version} ({n} folds)" for version, n in sorted(counts.items()))
            mixed.append(f"{name} {folds}")
    if not mixed:
        return ()
    more = f"; and {len(mixed) - 2} more packages" if len(mixed) > 2 else ""
    return (f"made by {len(versions)} versions: {'; '.join(mixed[:2])}{more}",)


def diverged_folds(ledger: Ledger, experiment: Experiment) -> tuple[str, ...]:
    """Return a note on the folds that have diverged, if there are any."""
    diverged = ledger.divergences(experiment)
    if not diverged:
        return ()
    first = f"{diverged[0].fold} in epoch {diverged[0].epoch}"
    return (f"{len(diverged)} diverged ({first}{', ...' if len(diverged) > 1 else ''})",)


def _own_first(name: str) -> tuple[bool, str]:
    return (name != _PACKAGE, name)


@dataclass(frozen=True, eq=False)
class _Clips:
    """Clips with their truth, and the number of ranked rows that score exactly these."""

    truth: Truth
    counts: Counts
    classes: tuple[str, ...]
    experiment: Experiment
    num_rows: int


def _measure(rows: Sequence[Row]) -> _Clips:
    """Return the clips that the others are compared with.

    Those of a known set come first, as the literature counts them; then clips of all classes, those
    of most rows, and the most clips.
    """
    first: dict[int, Row] = {}
    numbers: Counter[int] = Counter()
    keys: dict[int, int] = {}  # the same object is hashed once
    for row in rows:
        identity = id(row.truth)
        if identity not in keys:
            keys[identity] = hash(frozenset(row.truth.items()))
        first.setdefault(keys[identity], row)
        numbers[keys[identity]] += not row.peeking
    chosen = [
        _Clips(row.truth, row.counts, row.experiment.classes, row.experiment, numbers[key])
        for key, row in first.items()
    ]
    return max(chosen, key=lambda clips: (*_worth(clips), sorted(clips.truth)))


def _worth(clips: _Clips) -> tuple[bool, bool, int, int]:
    counts = _class_counts(clips.counts, clips.classes)
    known = difference_from_literature(clips.experiment.dataset, counts) == ""
    return (known, all(counts.values()), clips.num_rows, len(clips.truth))


def _class_counts(counts: Counts, classes: Sequence[str]) -> dict[str, int]:
    """Clips of each class; of several labels, clips that have each."""
    pooled = counts.pooled
    numbers = pooled[:, 1].sum(axis=-1) if counts.multi_label else pooled.sum(axis=-1)
    return dict(zip(classes, numbers.tolist(), strict=True))


def _difference(measure: _Clips, row: Row) -> str:
    """Return how a row's clips differ from the measure; "" where they do not.

    Other programs may name clips otherwise. Where no name is shared, the numbers of clips of each
    subject and class are compared.
    """
    if row.truth is measure.truth or row.truth == measure.truth:
        return ""
    shared = row.truth.keys() & measure.truth.keys()
    if not shared:
        if row.counts.same_clips(measure.counts):
            return ""
        return (
            f"other clips: {len(row.truth)} of {len(row.counts.subjects)} subjects; the other rows "
            f"score {len(measure.truth)} of {len(measure.counts.subjects)} subjects, with other "
            "numbers of clips by subject and class"
        )
    parts = []
    if lacking := len(measure.truth) - len(shared):
        before, after = (_class_counts(c, measure.classes) for c in (measure.counts, row.counts))
        gone = [name for name in measure.classes if before[name] and not after[name]]
        classes = f" (all of {', '.join(gone)})" if gone else ""
        parts.append(
            f"{lacking} of the other rows' {len(measure.truth)} clips are missing{classes}"
        )
    if more := len(row.truth) - len(shared):
        parts.append(f"{more} clips are not in the other rows")
    if other := sum(row.truth[name] != measure.truth[name] for name in shared):
        parts.append(f"{other} clips have another truth")
    return f"other clips: {'; '.join(parts)}"


def _literature(row: Row) -> tuple[str, ...]:
    """Return a note if a known set's class counts are not those of the literature."""
    experiment = row.experiment
    if row.subset or experiment.multi_label or experiment.protocol not in _WHOLE:
        return ()
    counts = _class_counts(row.counts, experiment.classes)
    told = difference_from_literature(experiment.dataset, counts)
    return (told,) if told else ()
