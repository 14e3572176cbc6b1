"""What the ledger stores: the experiment (what was planned) and one record per finished fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.labels.tasks import Names, Task, task_of
from results.ledger.sealed import (
    SCHEMA,
    check_choice,
    check_count,
    check_digest,
    check_keys,
    check_list,
    check_mapping,
    check_names,
    check_numbers,
    check_text,
    finite_or_none,
    seal,
    unseal,
)

SELECTIONS = ("inner", "last", "nested", "oracle", "unknown")
PROTOCOLS = ("loso", "official", "cde", "cross-dataset", "group-kfold")


@dataclass(frozen=True)
class PlannedFold:
    """One fold of the plan.

    Attributes:
        name: unique in the experiment; any printable characters, such as ``casme2/sub01``.
        test_subjects: the subjects that are held out.
        num_test_clips: how many clips of theirs are to be scored, at least 1.
    """

    name: str
    test_subjects: tuple[str, ...]
    num_test_clips: int

    def __post_init__(self) -> None:
        check_text("the name of a fold", self.name)
        subjects = check_names(f"the test subjects of {self.name}", self.test_subjects, least=1)
        object.__setattr__(self, "test_subjects", subjects)
        check_count(f"num_test_clips of {self.name}", self.num_test_clips, least=1)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "name": self.name,
            "num_test_clips": self.num_test_clips,
            "test_subjects": list(self.test_subjects),
        }

    @classmethod
    def from_dict(cls, value: object) -> PlannedFold:
        """Return the fold of a JSON object; raises `DadnetError` on missing or unknown keys."""
        return cls(**check_keys("planned fold", value, _names_of(cls)))


@dataclass(frozen=True)
class Experiment:
    """Everything that changes a number, and the folds that follow from it.

    Attributes:
        digest: 16 hex digits, the hash of the canonical config (`dadnet.config.experiment`).
        method: the row's name on the board.
        dataset: the name of the dataset; protocol, class_set: see the design's words.
        classes: class or label names in the class set's order, at least two.
        selection: what chose the epoch, one of `SELECTIONS`.
        seed: of the experiment; None where it is not known.
        data_digest: of the flow store; teacher_digest: of the teacher's weights or None.
        config: the whole canonical config.
        folds: the plan, in order.
        multi_label: whether a clip may have several of the classes, or none; left out of the text
            where it is not so, as it was not there at first.
    """

    digest: str
    method: str
    dataset: str
    protocol: str
    class_set: str
    classes: tuple[str, ...]
    selection: str
    seed: int | None
    data_digest: str
    teacher_digest: str | None
    config: Mapping[str, Any] = field(hash=False)
    folds: tuple[PlannedFold, ...]
    multi_label: bool = False

    def __post_init__(self) -> None:
        check_digest("the experiment's digest", self.digest)
        for name in ("method", "dataset", "protocol", "class_set", "data_digest"):
            check_text(name, getattr(self, name))
        object.__setattr__(self, "classes", check_names("classes", self.classes, least=2))
        check_choice("selection", self.selection, SELECTIONS)
        if self.seed is not None:
            check_count("seed", self.seed)
        if self.teacher_digest is not None:
            check_text("teacher_digest", self.teacher_digest)
        object.__setattr__(self, "config", check_mapping("config", self.config))
        object.__setattr__(self, "folds", check_list("folds", self.folds))
        check_names("folds", [fold.name for fold in self.folds], least=1)
        check_choice("multi_label", str(self.multi_label), ("False", "True"))

    @property
    def task(self) -> Task:
        """Whether a clip has one class or several labels."""
        return task_of(self.multi_label)

    @property
    def decisions_per_clip(self) -> int:
        """One, or one for each label."""
        return len(self.classes) if self.multi_label else 1

    @cached_property
    def by_name(self) -> dict[str, PlannedFold]:
        """The planned folds by their names: with thousands of them, looking through is slow."""
        return {fold.name: fold for fold in self.folds}

    @cached_property
    def num_clips(self) -> int:
        """How many test clips the plan has."""
        return sum(fold.num_test_clips for fold in self.folds)

    @cached_property
    def num_subjects(self) -> int:
        """How many test subjects the plan has."""
        return len({name for fold in self.folds for name in fold.test_subjects})

    def to_json(self) -> str:
        """Return the canonical JSON text, with schema and checksum."""
        payload = {name: getattr(self, name) for name in _names_of(type(self))}
        if not self.multi_label:
            del payload["multi_label"]
        folds = [fold.to_dict() for fold in self.folds]
        return seal({**payload, "schema": SCHEMA, "folds": folds})

    @classmethod
    def from_json(cls, text: str | bytes) -> Experiment:
        """Return the experiment of `to_json`'s text.

        Raises:
            DadnetError: if the text is damaged, or a key is missing, unknown or of a wrong kind.
        """
        payload = unseal(text, "experiment")
        payload = {"multi_label": False, **payload}
        payload = check_keys("experiment", payload, {*_names_of(cls), "schema"})
        del payload["schema"]
        folds = tuple(PlannedFold.from_dict(item) for item in check_list("folds", payload["folds"]))
        return cls(**{**payload, "folds": folds})


@dataclass(frozen=True)
class Prediction:
    """One test clip, scored once with the chosen weights.

    Attributes:
        clip_id: ``dataset/subject/filename[@onset]``; subject: ``dataset/subject``.
        part: part of an official split, "" where there is none.
        label: class name, the truth; prediction: class name. Where clips have several labels, both
            are tuples of label names in the order of the experiment's classes, empty without one.
        probabilities: (K,) in the order of the experiment's classes, or None; each label has its
            own, classes share 1.
    """

    clip_id: str
    subject: str
    part: str
    label: Names
    prediction: Names
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("clip_id", "subject"):
            check_text(name, getattr(self, name))
        multi_label = not isinstance(self.label, str)
        for name in ("label", "prediction"):
            if multi_label:
                object.__setattr__(self, name, check_names(name, getattr(self, name)))
            else:
                check_text(name, getattr(self, name))
        check_text("part", self.part, empty=True)
        if self.probabilities is None:
            return
        given = check_numbers("probabilities", self.probabilities)
        # The sum allows for figures that were rounded to two digits in a foreign table.
        apart = 0.0 if multi_label else abs(sum(given) - 1)
        if not all(0 <= p <= 1 for p in given) or apart > 0.01 * len(given):
            to_one = "" if multi_label else " that sum to 1"
            raise DadnetError(
                f"expected probabilities in [0, 1]{to_one} for {self.clip_id}, got: {given}"
            )
        object.__setattr__(self, "probabilities", given)

    def fits(self, classes: Sequence[str], multi_label: bool) -> bool:
        """Whether truth and prediction are of these classes; labels come in their order."""
        for names in (self.label, self.prediction):
            if isinstance(names, str) == multi_label:
                return False
            given = (names,) if isinstance(names, str) else names
            if tuple(name for name in classes if name in given) != given:
                return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {name: getattr(self, name) for name in _names_of(type(self))}

    @classmethod
    def from_dict(cls, value: object) -> Prediction:
        """Return the prediction of a JSON object; raises `DadnetError` on wrong keys."""
        return cls(**check_keys("prediction", value, _names_of(cls)))


@dataclass(frozen=True)
class FoldRecord:
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

    experiment: str
    fold: str
    fit_subjects: tuple[str, ...]
    val_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    selection: str
    chosen_epoch: int | None
    epochs_run: int | None
    curves: Mapping[str, tuple[float | None, ...]] = field(hash=False)
    predictions: tuple[Prediction, ...]
    teacher_digest: str | None
    audit: str
    host: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        check_digest("the record's experiment", self.experiment)
        check_text("fold", self.fold)
        check_text("audit", self.audit, empty=True)
        check_choice("selection", self.selection, SELECTIONS)
        for name in ("fit_subjects", "val_subjects", "test_subjects"):
            object.__setattr__(self, name, check_names(name, getattr(self, name)))
        for name in ("chosen_epoch", "epochs_run"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.teacher_digest is not None:
            check_text("teacher_digest", self.teacher_digest)
        object.__setattr__(self, "curves", _curves(self.curves))
        object.__setattr__(self, "predictions", check_list("predictions", self.predictions))
        object.__setattr__(self, "host", check_mapping("host", self.host))
        self._check_sides()
        check_names("clips of the predictions", [p.clip_id for p in self.predictions], least=1)

    def _check_sides(self) -> None:
        fit, val, test = map(set, (self.fit_subjects, self.val_subjects, self.test_subjects))
        shared = fit & (val | test) | (set() if self.selection == "oracle" else val & test)
        if shared:
            raise DadnetError(f"fold {self.fold} has subjects on two sides: {sorted(shared)}")
        foreign = {p.subject for p in self.predictions} - test
        if foreign:
            raise DadnetError(f"fold {self.fold} scores subjects outside test: {sorted(foreign)}")

    def to_json(self) -> str:
        """Return the canonical JSON text, with schema and checksum."""
        return seal(_payload(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> FoldRecord:
        """Return the record of `to_json`'s text.

        Raises:
            DadnetError: if the text is damaged, or a key is missing, unknown or of a wrong kind.
        """
        payload = check_keys("record", unseal(text, "record"), {*_names_of(cls), "schema"})
        del payload["schema"]
        rows = check_list("predictions", payload["predictions"])
        return cls(**{**payload, "predictions": tuple(Prediction.from_dict(row) for row in rows)})


def comparable(record: FoldRecord) -> dict[str, Any]:
    """Return the record's JSON object without host and checksum: what two runs must agree on."""
    payload = _payload(record)
    del payload["host"]
    return payload


def _payload(record: FoldRecord) -> dict[str, Any]:
    payload = {name: getattr(record, name) for name in _names_of(type(record))}
    rows = [row.to_dict() for row in record.predictions]
    # Tuples are written as JSON lists; here they become lists so that this equals what is read.
    lists = {name: list(v) for name, v in payload.items() if isinstance(v, tuple)}
    curves = {name: list(values) for name, values in record.curves.items()}
    return {**payload, **lists, "schema": SCHEMA, "curves": curves, "predictions": rows}


def _curves(value: object) -> dict[str, tuple[float | None, ...]]:
    if not isinstance(value, Mapping):
        raise DadnetError(f"expected curves as a mapping, got: {type(value).__name__}")
    return {
        check_text("the name of a curve", name): finite_or_none(f"curve {name}", values)
        for name, values in value.items()
    }


def _names_of(cls: type[Any]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(cls))
