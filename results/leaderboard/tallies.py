"""What the board needs of each experiment, read from its folds or kept from the last time.

The index is a file of lines in the ledger's root, each with its own checksum. It holds nothing
that the folds do not say, and an entry counts only as long as neither the folds nor this code have
changed; without it the board is the same, only slower.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from dadnet.base.errors import StorageError
from dadnet.base.location import replace_file
from results.leaderboard.fingerprint import Folder, of_source
from results.ledger.ledger import Ledger, LedgerWarning, file_name
from results.ledger.quick import read_clips
from results.ledger.records import Experiment
from results.ledger.val_side import IntArray
from results.statistics.counts import Counts, ScoredClip, count
from results.statistics.parts import count_parts
from results.statistics.summary import Summary, summarise_many

INDEX = ".index.jsonl"
# Fewer folds than this are read again each time, and by this process alone.
_FEW = 2_000


@dataclass(frozen=True, eq=False)
class Account:
    """The finished folds of one experiment, counted.

    Attributes:
        num_done: finished folds.
        counts: of their clips.
        summary: the pooled figures; None as long as a fold is missing.
        parts: part -> its account, where the protocol has several; none until all folds are
            finished.
    """

    num_done: int
    counts: Counts
    summary: Summary | None
    parts: Mapping[str, Account] = field(default_factory=dict)


class _Entry(msgspec.Struct):
    """A line of the index; the account is decoded only where the line still holds."""

    source: str
    folder: str
    fingerprint: str
    account: msgspec.Raw


def _flat(numbers: IntArray) -> tuple[tuple[int, ...], list[int]]:
    """Return shape and numbers of an array; without a subject, the lists alone would lose K."""
    return numbers.shape, numbers.ravel().tolist()


def _array(_: type, flat: tuple[list[int], list[int]]) -> IntArray:
    shape, numbers = flat
    return np.array(numbers, dtype=np.int64).reshape(shape)


_DECODER = msgspec.json.Decoder(Account, dec_hook=_array)
_LINES = msgspec.json.Decoder(_Entry)


def accounts(
    ledger: Ledger,
    experiments: Sequence[Experiment],
    folders: Mapping[str, Folder],
    processes: int = 1,
) -> list[Account]:
    """Return the account of each experiment, in their order.

    Args:
        ledger: where the folds are.
        experiments: of this ledger.
        folders: what `results.leaderboard.fingerprint.scan` saw before.
        processes: how many may read side by side.
    """
    kept = _load(ledger.local_root / INDEX)
    names = [_name(ledger, experiment) for experiment in experiments]
    found: dict[str, bytes] = {}
    for name in names:
        entry = kept.get(name)
        if entry is not None and name in folders and entry.fingerprint == folders[name].fingerprint:
            found[name] = bytes(entry.account)
    new = [(n, e) for n, e in zip(names, experiments, strict=True) if n not in found]
    read: Iterable[bytes]
    num_folds = sum(len(experiment.folds) for _, experiment in new)
    if num_folds < _FEW or processes < 2:
        read = _read_many(ledger, [experiment for _, experiment in new])
    else:
        read = _in_processes(ledger, [experiment for _, experiment in new], processes)
    found.update({name: account for (name, _), account in zip(new, read, strict=True)})
    if num_folds >= _FEW:
        _save(ledger.local_root / INDEX, found, folders)
    return [_DECODER.decode(found[name]) for name in names]


def _read_one(ledger: Ledger, experiment: Experiment) -> tuple[int, Counts, dict[str, Counts]]:
    """Return the number of finished folds, the counts of their clips, and those of each part."""
    clips: Sequence[ScoredClip]
    quickly = read_clips(experiment, ledger.read_all(experiment))
    if quickly is not None:
        num_done, clips = quickly
    else:  # The slow path judges: it warns and moves a record aside if it is damaged.
        records = ledger.records(experiment)
        num_done, clips = len(records), [row for record in records for row in record.predictions]
    counts = count(clips, experiment.classes)
    if num_done < len(experiment.folds):
        return num_done, counts, {}
    return (
        num_done,
        counts,
        count_parts(experiment.protocol, clips, experiment.classes, counts.subjects),
    )


def _read_many(ledger: Ledger, experiments: Sequence[Experiment]) -> list[bytes]:
    """Return the account of each experiment, encoded as the index holds it."""
    read = [_read_one(ledger, experiment) for experiment in experiments]
    complete = [n for n, e in enumerate(experiments) if read[n][0] == len(e.folds)]
    wanted = [counts for n in complete for counts in (read[n][1], *read[n][2].values())]
    # Taken again in the same order: of the whole, then of its parts.
    figures = iter(summarise_many(wanted))
    summaries = {n: (next(figures), [next(figures) for _ in read[n][2]]) for n in complete}
    found = []
    for number, (num_done, counts, parts) in enumerate(read):
        summary, of_parts = summaries.get(number, (None, []))
        pairs = zip(parts.items(), of_parts, strict=True)
        named = {name: Account(num_done, part, made) for (name, part), made in pairs}
        account = Account(num_done, counts, summary, named)
        found.append(msgspec.json.encode(account, enc_hook=_flat))
    return found


def _in_processes(
    ledger: Ledger, experiments: Sequence[Experiment], processes: int
) -> Iterator[bytes]:
    size = max(1, min(50, len(experiments) // processes))
    processes *= 2  # while one waits for the disk, another works
    parts = [experiments[start : start + size] for start in range(0, len(experiments), size)]
    # Neither threads nor open files are inherited by a spawned process.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for accounts_, messages in pool.map(_read_part, [ledger.local_root] * len(parts), parts):
            for message in messages:
                warnings.warn(message, LedgerWarning, stacklevel=2)
            yield from accounts_


def _read_part(root: Path, experiments: Sequence[Experiment]) -> tuple[list[bytes], list[str]]:
    gc.disable()  # a worker's own process: nothing here makes cycles, and millions of lists do cost
    # One thread each: those of the matrix products would only wait for each other.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", LedgerWarning)
        ledger = Ledger(root)
        found = _read_many(ledger, experiments)
    return found, [str(warning.message) for warning in caught]


def _name(ledger: Ledger, experiment: Experiment) -> str:
    return f"{file_name(experiment.dataset)}/{experiment.digest}"


def _load(path: Path) -> dict[str, _Entry]:
    """Return the lines by folder; those that are damaged or of other code are left out."""
    kept: dict[str, _Entry] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return kept
    source = of_source()
    for line in lines:
        stated, _, body = line.partition(b" ")
        if hashlib.sha256(body).hexdigest().encode() != stated:
            continue
        try:
            entry = _LINES.decode(body)
        except msgspec.DecodeError:  # whole, but of another code
            continue
        if entry.source == source:
            kept[entry.folder] = entry
    return kept


def _save(path: Path, found: Mapping[str, bytes], folders: Mapping[str, Folder]) -> None:
    source = of_source()
    lines = []
    for name, account in found.items():
        if name in folders and folders[name].settled:
            entry = _Entry(source, name, folders[name].fingerprint, msgspec.Raw(account))
            body = msgspec.json.encode(entry)
            lines.append(hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n")
    try:
        replace_file(path, b"".join(lines))
    # The ledger of another user: the leaderboard is made all the same, only slower next time.
    except (OSError, StorageError) as error:
        warnings.warn(f"the index was not written: {error}", LedgerWarning, stacklevel=2)
