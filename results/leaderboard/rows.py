"""The leaderboard's parts: a group per dataset, protocol and class set, a row per experiment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dadnet.base.errors import DadnetError
from results.leaderboard.published import Reported
from results.ledger.quick import Made
from results.ledger.records import Experiment
from results.ledger.studies import StudyRecord
from results.statistics.compare import OverSeeds
from results.statistics.counts import Counts, Truth
from results.statistics.summary import Summary

# Rows of a group that are tested against the best and shown on a page; the others are in the
# exports. With more tests than this, no corrected p could be small.
MOST_ROWS = 250


@dataclass(frozen=True)
class Tally:
    """The right clips of one test subject; None where its fold is not finished.

    Of several labels they are decisions, one for each label of a clip.
    """

    subject: str
    right: int | None
    total: int | None


@dataclass(frozen=True)
class Row:
    """One experiment on the leaderboard.

    Attributes:
        num_done: finished folds.
        summary: the pooled figures; None as long as a fold is missing, because a figure over the
            finished folds would be one over survivors.
        counts: of the finished folds, or of the subset.
        subset: the dataset of a composite, or the part of an official split, that these figures
            are of; "" for all test clips.
        studies: searches whose winner this is.
        name: what the row is called (`results.leaderboard.names`); the method by default.
        preset: its recipe, with what was changed in it; None where it is another one.
        made: when and how its folds were made.
        truth: of the scored clips, once all folds are finished.
        apart: why the row is over other clips than the others, and so not ranked with them.
        notes: what a reader has to know of the row besides.
        rank: from 1 in the group; None for rows whose status is not ``ranked``.
        ranks: 95 % interval of the rank; tie: letter of the tie group; p_best: Holm-corrected p
            against the best row. None where there is none.
        twin: digest of the honest row that a test-peeking one equals but for the selection, and
            gain: how much UF1 the peeking brought.
    """

    experiment: Experiment
    num_done: int
    summary: Summary | None
    counts: Counts = field(compare=False, repr=False)
    subset: str = ""
    studies: tuple[StudyRecord, ...] = ()
    name: str = ""
    preset: str | None = None
    made: Made = field(default_factory=Made)
    truth: Truth = field(default_factory=dict, compare=False, repr=False)
    apart: str = ""
    notes: tuple[str, ...] = ()
    rank: int | None = None
    ranks: tuple[int, int] | None = None
    tie: str | None = None
    p_best: float | None = None
    twin: str | None = None
    gain: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.experiment.method)

    @property
    def key(self) -> str:
        """Unique on the leaderboard: the digest, with the subset."""
        return f"{self.experiment.digest}-{self.subset}" if self.subset else self.experiment.digest

    @property
    def num_planned(self) -> int:
        """How many folds the plan has."""
        return len(self.experiment.folds)

    @property
    def complete(self) -> bool:
        """Whether every planned fold is finished."""
        return self.num_done == self.num_planned

    @property
    def peeking(self) -> bool:
        """Whether the selection looked at the test subjects."""
        return self.experiment.selection == "oracle"

    @property
    def not_nested(self) -> bool:
        """Whether labels of test subjects had a part in choosing the settings.

        A search over all folds of a LOSO sees every subject as a training subject of the others.
        """
        levels = {study.level for study in self.studies}
        return "inner" in levels and self.experiment.protocol != "official"

    @property
    def status(self) -> str:
        """``ranked``, ``not-comparable``, ``test-peeking`` or ``incomplete``."""
        if not self.complete:
            return "incomplete"
        if self.peeking:
            return "test-peeking"
        return "not-comparable" if self.apart else "ranked"

    @property
    def note(self) -> str | None:
        """Why the row stands apart, and other remarks, in one line; None without any."""
        parts = (f"not ranked with the others, {self.apart}" if self.apart else "", *self.notes)
        return "; ".join(filter(None, parts)) or None

    @property
    def num_clips(self) -> int:
        """How many test clips the plan, or the subset, has."""
        if self.subset:
            return int(self.counts.num_clips.sum())
        return self.experiment.num_clips

    @property
    def num_subjects(self) -> int:
        """How many test subjects the plan, or the subset, has."""
        if self.subset:
            return len(self.counts.subjects)
        return self.experiment.num_subjects

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """One per planned test subject, or per subject of the subset, sorted."""
        # A subject of an unfinished fold has no counts yet; alone in its fold, its total is known.
        by_subject = {
            name: Tally(name, None, size if len(fold.test_subjects) == 1 else None)
            for fold in self.experiment.folds
            for size in [fold.num_test_clips * self.experiment.decisions_per_clip]
            for name in fold.test_subjects
            if not self.subset
        }
        right, total = self.counts.num_right.tolist(), self.counts.num_decisions.tolist()
        for name, *numbers in zip(self.counts.subjects, right, total, strict=True):
            by_subject[name] = Tally(name, *numbers)
        return tuple(by_subject[name] for name in sorted(by_subject))


@dataclass(frozen=True)
class SeedRows:
    """Rows that differ in their seed alone.

    Attributes:
        name, method, selection: what they share.
        seeds: of the rows.
        figures: UF1 over these seeds.
    """

    name: str
    method: str
    selection: str
    seeds: tuple[int, ...]
    figures: OverSeeds


@dataclass(frozen=True)
class Group:
    """Rows that may be ranked against each other, in the order of the leaderboard.

    Attributes:
        seeds: methods with several complete seeds.
        reported: published figures of the same dataset and protocol.
        gap: the difference in UF1 that these subjects can show, and whether it was measured on
            pairs of rows; None with fewer than two subjects or without a ranked row.
    """

    dataset: str
    protocol: str
    class_set: str
    classes: tuple[str, ...]
    subset: str
    rows: tuple[Row, ...]
    seeds: tuple[SeedRows, ...] = ()
    reported: tuple[Reported, ...] = ()
    gap: tuple[float, bool] | None = None

    @property
    def title(self) -> str:
        """Return dataset, protocol, class set and subset in one line."""
        title = f"{self.dataset}, {self.protocol}, {self.class_set} ({', '.join(self.classes)})"
        return f"{title}: {self.subset} part" if self.subset else title

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several labels."""
        return self.rows[0].experiment.multi_label

    @property
    def same_clips(self) -> bool:
        """Whether all rows count the same number of clips and subjects."""
        return len({(row.num_clips, row.num_subjects) for row in self.rows}) == 1


@dataclass(frozen=True)
class Leaderboard:
    """All groups, sorted by dataset, protocol, class set, classes and subset; all clips first."""

    groups: tuple[Group, ...]

    @property
    def studies(self) -> tuple[StudyRecord, ...]:
        """Return the searches behind the rows, by name."""
        by_digest = {study.digest: study for row in self.rows for study in row.studies}
        return tuple(sorted(by_digest.values(), key=lambda study: study.name))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the names of the datasets, sorted."""
        return tuple(sorted({group.dataset for group in self.groups}))

    @property
    def complete(self) -> bool:
        """Whether every experiment has all its folds."""
        return all(row.complete for row in self.rows)

    @property
    def rows(self) -> Iterator[Row]:
        """The rows of all groups."""
        return (row for group in self.groups for row in group.rows)

    def of_dataset(self, dataset: str) -> Leaderboard:
        """Return the groups of one dataset.

        Raises:
            DadnetError: if there is none; it lists the datasets there are.
        """
        groups = tuple(group for group in self.groups if group.dataset == dataset)
        if not groups:
            available = ", ".join(self.datasets) or "none"
            raise DadnetError(f"no experiment on dataset {dataset!r}; available: {available}")
        return Leaderboard(groups)
