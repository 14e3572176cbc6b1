"""The counts and figures of each experiment, read from its folds by several processes."""

from __future__ import annotations

import gc
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from results.ledger.ledger import Ledger, LedgerWarning
from results.ledger.quick import Made, read_clips, versions_of
from results.ledger.records import Experiment, Prediction
from results.statistics.counts import Counts, Truth, by_subset, count
from results.statistics.summary import Summary, summarise_many

# Fewer folds than this are read by this process alone.
_FEW = 2_000


@dataclass(frozen=True, eq=False)
class Tallies:
    """The finished folds of one experiment, counted.

    Attributes:
        num_done: finished folds.
        counts: of their clips.
        summary: the pooled figures; None as long as a fold is missing.
        truth: of these clips.
        versions: JSON of the packages' versions -> folds that they made.
        made: when and how these folds were made.
        subsets: name -> its tallies, where the protocol has several; none until all folds are
            finished.
    """

    num_done: int
    counts: Counts
    summary: Summary | None
    truth: Truth = field(default_factory=dict)
    versions: Mapping[bytes, int] = field(default_factory=dict)
    made: Made = field(default_factory=Made)
    subsets: Mapping[str, Tallies] = field(default_factory=dict)


def read_tallies(
    ledger: Ledger, experiments: Sequence[Experiment], processes: int = 1
) -> list[Tallies]:
    """Return the tallies of each experiment, in order; so many `processes` may read at once."""
    num_folds = sum(len(experiment.folds) for experiment in experiments)
    if num_folds < _FEW or processes < 2:
        return _read_many(ledger, experiments)
    return list(_in_processes(ledger, experiments, processes))


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read of one experiment."""

    num_done: int
    counts: Counts
    truth: Truth
    versions: Counter[bytes]
    made: Made
    subsets: Mapping[str, tuple[Counts, Truth]]


# Experiments on the same clips share one mapping: content -> mapping.
_Known = dict[frozenset[tuple[str, Any]], Truth]


def _read_one(ledger: Ledger, experiment: Experiment, known: _Known) -> _Read:
    quickly = read_clips(experiment, ledger.read_all(experiment))
    if quickly is not None:
        num_done, clips, versions, made = quickly
    else:  # This path warns, and moves a record aside if it is damaged.
        records = ledger.records(experiment)
        num_done, clips = len(records), [row for record in records for row in record.predictions]
        versions, made = Counter(map(versions_of, records)), Made.of_records(records)
    counts = count(clips, experiment.classes)
    if num_done < len(experiment.folds):
        return _Read(num_done, counts, {}, versions, made, {})
    subsets = {
        name: (count(rows, experiment.classes), _truth(rows, known))
        for name, rows in by_subset(experiment.protocol, clips, counts.subjects).items()
    }
    return _Read(num_done, counts, _truth(clips, known), versions, made, subsets)


def _truth(clips: Sequence[Prediction], known: _Known) -> Truth:
    truth = {clip.clip_id: clip.label for clip in clips}
    return known.setdefault(frozenset(truth.items()), truth)


def _read_many(ledger: Ledger, experiments: Sequence[Experiment]) -> list[Tallies]:
    known: _Known = {}
    read = [_read_one(ledger, experiment, known) for experiment in experiments]
    complete = [len(e.folds) == r.num_done for e, r in zip(experiments, read, strict=True)]
    wanted = [
        counts
        for whole, one in zip(complete, read, strict=True)
        if whole
        for counts in (one.counts, *(counts for counts, _ in one.subsets.values()))
    ]
    # Taken again in the same order: of the whole, then of its subsets.
    summaries = iter(summarise_many(wanted))
    return [
        Tallies(
            one.num_done,
            one.counts,
            next(summaries) if whole else None,
            one.truth,
            one.versions,
            one.made,
            {
                name: Tallies(one.num_done, counts, next(summaries), truth)
                for name, (counts, truth) in one.subsets.items()
            },
        )
        for whole, one in zip(complete, read, strict=True)
    ]


def _in_processes(
    ledger: Ledger, experiments: Sequence[Experiment], processes: int
) -> Iterator[Tallies]:
    size = max(1, min(50, len(experiments) // processes))
    processes *= 2  # while one waits for the disk, another works
    parts = [experiments[start : start + size] for start in range(0, len(experiments), size)]
    # Neither threads nor open files are inherited by a spawned process.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for tallies, messages in pool.map(_read_part, [ledger.local_root] * len(parts), parts):
            for message in messages:
                warnings.warn(message, LedgerWarning, stacklevel=2)
            yield from tallies


def _read_part(root: Path, experiments: Sequence[Experiment]) -> tuple[list[Tallies], list[str]]:
    gc.disable()  # a worker's own process: nothing here makes cycles, and millions of lists do cost
    # One thread each: those of the matrix products would only wait for each other.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", LedgerWarning)
        ledger = Ledger(root)
        tallies = _read_many(ledger, experiments)
    return tallies, [str(warning.message) for warning in caught]
