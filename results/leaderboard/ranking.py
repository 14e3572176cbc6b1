"""The leaderboard: one group per dataset, protocol and class set, one row per experiment.

Composites and official splits have a further group for each of their parts. Only complete
experiments are ranked, and only against the same dataset, protocol, classes, clips and truth.
Rows whose selection looked at the test subjects (`oracle`) are shown and never ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from results.leaderboard.comparable import diverged_folds, mixed_versions, with_notes
from results.leaderboard.names import names_in, without_seed
from results.leaderboard.published import beside
from results.leaderboard.rows import MOST_ROWS, Group, Leaderboard, Row, SeedRows
from results.leaderboard.settings import preset_text
from results.leaderboard.text import text_table
from results.ledger.ledger import Ledger
from results.ledger.mirror import readable
from results.ledger.records import Experiment
from results.ledger.studies import StudyLedger, StudyRecord
from results.statistics.compare import detectable_gap, over_seeds
from results.statistics.standings import standings
from results.statistics.tallies import Tallies, read_tallies

__all__ = ["Filters", "leaderboard", "text_table"]


@dataclass(frozen=True)
class Filters:
    """Which experiments are on the leaderboard; None lets everything through."""

    dataset: str | None = None
    protocol: str | None = None
    class_set: str | None = None

    def choose(self, experiments: Sequence[Experiment]) -> tuple[Experiment, ...]:
        """Return the experiments that fit.

        Raises:
            DadnetError: if none does; it says what there is.
        """
        left = tuple(experiments)
        for name in ("dataset", "protocol", "class_set"):
            wanted = getattr(self, name)
            if wanted is None:
                continue
            available = ", ".join(sorted({getattr(e, name) for e in left}))
            left = tuple(e for e in left if getattr(e, name) == wanted)
            if not left:
                raise DadnetError(f"no experiment on {name} {wanted!r}; available: {available}")
        return left


def leaderboard(
    ledger: Ledger | str | Path,
    dataset: str | None = None,
    *,
    filters: Filters | None = None,
    experiments: Sequence[Experiment] | None = None,
    processes: int = 1,
) -> Leaderboard:
    """Return the leaderboard of a ledger: the same ledger always gives the same leaderboard.

    Args:
        ledger: the ledger or its folder.
        dataset: only this dataset, if given; filters: or only what these let through.
        experiments: all of the ledger, if they were read already.
        processes: how many may read the folds side by side, if there are many.

    Raises:
        DadnetError: if there is no experiment, or none on the dataset.
    """
    ledger = readable(ledger if isinstance(ledger, Ledger) else Ledger(ledger))
    experiments = ledger.experiments() if experiments is None else experiments
    if not experiments:
        raise DadnetError(f"expected a ledger with experiments, got: nothing in {ledger.root}")
    chosen = (filters or Filters(dataset=dataset)).choose(experiments)
    studies = StudyLedger(ledger.local_root).studies()
    read = read_tallies(ledger, chosen, processes)
    names = names_in(ledger, chosen)
    rows = [
        replace(row, name=names[experiment.digest])
        for experiment, tallies in zip(chosen, read, strict=True)
        for row in _rows(ledger, experiment, tallies, studies)
    ]
    rows.sort(key=_key)
    groups = groupby(rows, key=_key)
    return Leaderboard(tuple(_group(key, list(members)) for key, members in groups))


_Key = tuple[str, str, str, tuple[str, ...], str, bool]


def _key(row: Row) -> _Key:
    e = row.experiment
    return (e.dataset, e.protocol, e.class_set, e.classes, row.subset, e.multi_label)


def _rows(
    ledger: Ledger, experiment: Experiment, tallies: Tallies, studies: Sequence[StudyRecord]
) -> Iterator[Row]:
    """Yield the experiment's row and, once it is complete, one per subset of its predictions."""
    won = tuple(study for study in studies if experiment.digest in study.scored)
    diverged = diverged_folds(ledger, experiment) if tallies.summary is None else ()
    whole = Row(
        experiment,
        tallies.num_done,
        tallies.summary,
        tallies.counts,
        studies=won,
        preset=preset_text(experiment),
        made=tallies.made,
        truth=tallies.truth,
        notes=(*diverged, *mixed_versions(tallies.versions)),
    )
    yield whole
    for name, subset in tallies.subsets.items():
        figures = replace(whole, summary=subset.summary, counts=subset.counts)
        yield replace(figures, subset=name, truth=subset.truth)


def _group(key: _Key, members: list[Row]) -> Group:
    rows = _with_twins(_ranked(with_notes(members)))
    ranked = [row for row in rows if row.status == "ranked"]
    ours = [(row.experiment.method, row.experiment.digest, row.counts) for row in ranked]
    dataset, protocol, _, classes, subset, multi_label = key
    return Group(
        *key[:5],
        rows=rows,
        seeds=_seeds(rows),
        reported=() if subset or multi_label else beside(dataset, protocol, len(classes), ours),
        gap=detectable_gap([row.counts for row in ranked], MOST_ROWS),
    )


def _ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return ranked rows by UF1, then those over other clips, test-peeking and incomplete ones.

    Rows with equal UF1 share a rank.
    """
    ordered = sorted(rows, key=_order)
    positions = standings([row.counts for row in ordered if row.status == "ranked"], MOST_ROWS)
    placed: list[Row] = []
    for row in ordered:
        if row.status != "ranked":
            placed.append(row)
            continue
        at = positions[len(placed)]
        tie = None if at.tie is None else _letter(at.tie)
        placed.append(replace(row, rank=at.rank, ranks=at.ranks, tie=tie, p_best=at.p))
    return tuple(placed)


def _letter(number: int) -> str:
    """Return A to Z, then AA, AB and so on."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _with_twins(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows, each complete test-peeking one with its honest twin where there is one."""
    honest: dict[str, Row] = {}
    for row in rows:  # best first; inner before last, where both are there
        if row.status in ("ranked", "not-comparable"):
            twin = _identity(row.experiment, but=("selection",))
            known = honest.get(twin)
            if known is None or (
                known.experiment.selection != "inner" and row.experiment.selection == "inner"
            ):
                honest[twin] = row
    completed = []
    for row in rows:
        twin_row = honest.get(_identity(row.experiment, but=("selection",)))
        if row.status == "test-peeking" and twin_row is not None:
            gain = _uf1(row) - _uf1(twin_row)
            row = replace(row, twin=twin_row.experiment.digest, gain=gain)
        completed.append(row)
    return tuple(completed)


def _seeds(rows: Sequence[Row]) -> tuple[SeedRows, ...]:
    """Return the methods of which several complete rows differ in the seed alone, best first."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        if row.status == "ranked" and row.experiment.seed is not None:
            key = _identity(row.experiment, but=("seed",))
            families.setdefault(key, []).append(row)
    seed_rows = []
    # Best first by the best seed: with very many methods, those that no page shows are left out.
    for members in list(families.values())[:MOST_ROWS]:
        members.sort(key=lambda row: (row.experiment.seed or 0, row.experiment.digest))
        seeds = [row.experiment.seed or 0 for row in members]
        subjects = {row.counts.subjects for row in members}
        if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds) or len(subjects) > 1:
            continue
        if len(next(iter(subjects))) < 2:
            continue
        first = members[0].experiment
        figures = over_seeds([row.counts for row in members])
        name = without_seed(members[0].name, first)
        seed_rows.append(SeedRows(name, first.method, first.selection, tuple(seeds), figures))
    return tuple(sorted(seed_rows, key=lambda s: (-s.figures.mean, s.name, s.selection, s.seeds)))


def _identity(experiment: Experiment, but: tuple[str, ...]) -> str:
    """Return a hash of everything that makes the experiment, except for what is named."""
    left_out = {*but, *({"val_fraction"} if "selection" in but else ())}
    parts: dict[str, Any] = {
        name: getattr(experiment, name)
        for name in ("method", "data_digest", "teacher_digest", "selection", "seed")
        if name not in but
    }
    return digest16([parts, _without(experiment.config, left_out)])


def _without(config: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        key: _without(value, names) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in names
    }


def _order(row: Row) -> tuple[int, float, float, str, int, str]:
    order = ("ranked", "not-comparable", "test-peeking", "incomplete").index(row.status)
    experiment = row.experiment
    seed = -1 if experiment.seed is None else experiment.seed
    uar = row.summary.uar.value if row.summary else None
    return (order, -_uf1(row), -(uar or 0.0), experiment.method, seed, experiment.digest)


def _uf1(row: Row) -> float:
    # Rounded as exported: a difference that nobody can see is a tie.
    return round((row.summary.uf1.value if row.summary else None) or 0.0, 6)
