"""What the ledger stores: the experiment (what was planned) and one record per finished fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar

import msgspec

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.labels.tasks import Names, Task, task_of
from results.ledger.sealed import (
    SCHEMA,
    Count,
    Curves,
    Digest,
    JsonObject,
    Names1,
    Record,
    Sealed,
    Text,
    check_choice,
    check_names,
    finite,
)
from results.ledger.sources import is_source

SELECTIONS = ("inner", "last", "nested", "oracle", "unknown")
PROTOCOLS = ("loso", "official", "cde", "cross-dataset", "group-kfold")


class PlannedFold(Record, frozen=True):
    """One fold of the plan.

    Attributes:
        name: unique in the experiment; any printable characters, such as ``casme2/sub01``.
        test_subjects: the subjects that are held out.
        num_test_clips: how many clips of theirs are to be scored, at least 1.
    """

    record_kind: ClassVar[str] = "planned fold"

    name: Text
    test_subjects: Names1
    num_test_clips: Annotated[int, msgspec.Meta(ge=1)]


class Experiment(Sealed, frozen=True, omit_defaults=True, dict=True):
    """Everything that changes a number, and the folds that follow from it.

    Attributes:
        digest: 16 hex digits, the hash of the canonical config (`dadnet.config.experiment`).
        method: the row's name on the leaderboard.
        dataset: the name of the dataset; protocol, class_set: see the design's words.
        classes: class or label names in the class set's order, at least two.
        selection: what chose the epoch, one of `SELECTIONS`.
        seed: of the experiment; None where it is not known.
        data_digest: of the flow store; teacher_digest: of the teacher's weights or None.
        config: the whole canonical config.
        folds: the plan, in order.
        multi_label: whether a clip may have several of the classes, or none; the JSON text holds
            it only where it is true, because the first ledgers did not have it.
    """

    record_kind: ClassVar[str] = "experiment"

    digest: Digest
    method: Text
    dataset: Text
    protocol: Text
    class_set: Text
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    selection: str
    seed: Count | None
    data_digest: Text
    teacher_digest: Text | None
    config: JsonObject
    folds: Annotated[tuple[PlannedFold, ...], msgspec.Meta(min_length=1)]
    multi_label: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("selection", self.selection, SELECTIONS)
        check_names("folds", [fold.name for fold in self.folds])

    @property
    def task(self) -> Task:
        """Whether a clip has one class or several labels."""
        return task_of(self.multi_label)

    @property
    def settings(self) -> list[tuple[str, str]]:
        """The config as pairs of text, sorted, with dots between the names of the levels."""
        return list(flat(self.config))

    @property
    def decisions_per_clip(self) -> int:
        """One, or one for each label."""
        return len(self.classes) if self.multi_label else 1

    @cached_property
    def by_name(self) -> dict[str, PlannedFold]:
        """The planned folds by their names: a search through thousands of folds is slow."""
        return {fold.name: fold for fold in self.folds}

    @cached_property
    def num_clips(self) -> int:
        """How many test clips the plan has."""
        return sum(fold.num_test_clips for fold in self.folds)

    @cached_property
    def num_subjects(self) -> int:
        """How many test subjects the plan has."""
        return len({name for fold in self.folds for name in fold.test_subjects})


class Prediction(Record, frozen=True):
    """One test clip, scored once with the chosen weights.

    Attributes:
        clip_id: ``dataset/subject/filename[@onset]``; subject: ``dataset/subject``.
        part: part of an official split, "" where there is none.
        label: class name, the truth; prediction: class name. Where clips have several labels, both
            are tuples of label names in the order of the experiment's classes, empty without one.
        probabilities: (K,) in the order of the experiment's classes, or None; each label has its
            own, classes share 1.
    """

    record_kind: ClassVar[str] = "prediction"

    clip_id: Text
    subject: Text
    part: str
    label: Names
    prediction: Names
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        multi_label = not isinstance(self.label, str)
        if multi_label == isinstance(self.prediction, str) or "" in (self.label, self.prediction):
            raise DadnetError(
                f"expected label and prediction as two names or two lists of names for "
                f"{self.clip_id}, got: {self.label!r} and {self.prediction!r}"
            )
        probabilities = self.probabilities or ()
        # The sum allows for figures that were rounded to two digits in a foreign table.
        error = 0.0 if multi_label or self.probabilities is None else abs(sum(probabilities) - 1)
        if not all(0 <= p <= 1 for p in probabilities) or error > 0.01 * len(probabilities):
            to_one = "" if multi_label else " that sum to 1"
            raise DadnetError(
                f"expected probabilities in [0, 1]{to_one} for {self.clip_id}, got: {probabilities}"
            )

    def fits(self, classes: Sequence[str], multi_label: bool) -> bool:
        """Whether truth and prediction are of these classes; labels come in their order."""
        for names in (self.label, self.prediction):
            if isinstance(names, str) == multi_label:
                return False
            stated = (names,) if isinstance(names, str) else names
            if tuple(name for name in classes if name in stated) != stated:
                return False
        return True


class Host(msgspec.Struct, gc=False):
    """The fields of a record's host that are read back; more are allowed."""

    started_at: str | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    tries: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None
    stack: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    parameters: Annotated[int, msgspec.Meta(ge=0)] | None = None
    flops: Annotated[int, msgspec.Meta(ge=0)] | None = None
    versions: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.started_at is not None:
            datetime.fromisoformat(self.started_at).timestamp()


def check_host(host: JsonObject) -> None:
    """Raise unless the fields of `Host` are of their types.

    Raises:
        DadnetError: naming the first that is not.
    """
    try:
        msgspec.convert(host, Host)
    except (msgspec.ValidationError, OverflowError) as error:
        raise DadnetError(f"host: {error}") from error


class FoldRecord(Sealed, frozen=True):
    """A finished fold.

    Attributes:
        experiment: digest of the experiment; fold: name of the planned fold.
        fit_subjects, val_subjects, test_subjects: disjoint; only `oracle` may look at the test
            subjects as `val`.
        selection: as in the experiment; chosen_epoch, epochs_run: None where not known.
        curves: per epoch, such as train_loss, alignment, learning_rate, val_uf1, val_uar,
            val_log_loss; None where not finite.
        predictions: one per test clip.
        teacher_digest: of the teacher's weights, or None; audit: the audit's one line.
        host: everything that may differ between two runs: times, machine, tries, versions.
    """

    experiment: Digest
    fold: Text
    fit_subjects: tuple[str, ...]
    val_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    selection: str
    chosen_epoch: Count | None
    epochs_run: Count | None
    curves: Curves
    predictions: Annotated[tuple[Prediction, ...], msgspec.Meta(min_length=1)]
    teacher_digest: Text | None
    audit: str
    host: JsonObject

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "curves", finite(self.curves))
        super().__post_init__()
        check_choice("selection", self.selection, SELECTIONS)
        check_host(self.host)
        self._check_sides()
        check_names("clips of the predictions", [p.clip_id for p in self.predictions])

    def _check_sides(self) -> None:
        fit, val, test = map(set, (self.fit_subjects, self.val_subjects, self.test_subjects))
        shared = fit & (val | test) | (set() if self.selection == "oracle" else val & test)
        if shared:
            raise DadnetError(f"fold {self.fold} has subjects on two sides: {sorted(shared)}")
        foreign = {p.subject for p in self.predictions} - test
        if foreign:
            raise DadnetError(f"fold {self.fold} scores subjects outside test: {sorted(foreign)}")


class Divergence(Sealed, frozen=True):
    """A fold whose loss was not finite; the same training would end so again.

    Attributes:
        experiment: digest of the experiment; fold: name of the planned fold.
        epoch: in which it happened, from 1; why: one line for the user.
        host: times, machine, versions.
    """

    record_kind: ClassVar[str] = "divergence"

    experiment: Digest
    fold: Text
    epoch: Count
    why: Text
    host: JsonObject


def comparable(record: FoldRecord) -> dict[str, Any]:
    """Return the record's JSON object without host and checksum: what two runs must agree on."""
    payload = {**record.to_dict(), "schema": SCHEMA}
    del payload["host"]
    return payload


def flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield a config's settings as pairs of text, sorted, with dots between the levels."""
    for name, value in sorted(config.items()):
        if is_source(value):
            yield f"{before}{name}", str(OwnCode.from_json(value))
        elif isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


def check_record(experiment: Experiment, record: FoldRecord) -> None:
    """Check that a record is one of the experiment's planned folds, whole and with its classes.

    Raises:
        DadnetError: naming the first thing that does not fit.
    """
    planned = experiment.by_name.get(record.fold)
    if planned is None:
        raise DadnetError(f"fold {record.fold!r} is not planned in experiment {experiment.digest}")
    pairs = {
        "experiment": (experiment.digest, record.experiment),
        "selection": (experiment.selection, record.selection),
        "teacher": (experiment.teacher_digest, record.teacher_digest),
        "test subjects": (sorted(planned.test_subjects), sorted(record.test_subjects)),
        "number of clips": (planned.num_test_clips, len(record.predictions)),
    }
    for name, (expected, actual) in pairs.items():
        if expected != actual:
            raise DadnetError(f"{name} of fold {record.fold}: expected {expected}, got: {actual}")
    known = experiment.classes
    for row in record.predictions:
        if not row.fits(known, experiment.multi_label):
            raise DadnetError(
                f"classes of {row.clip_id}: expected some of {', '.join(known)}, "
                f"got: {row.label} and {row.prediction}"
            )
        if row.probabilities is not None and len(row.probabilities) != len(known):
            raise DadnetError(
                f"probabilities of {row.clip_id}: expected {len(known)}, "
                f"got: {len(row.probabilities)}"
            )
