"""What the ledger keeps of a search: every trial, the winner, and which experiment it became.

    <root>/.studies/<digest>/study.json

The file is a copy of the study's storage, made when a search ends and replaced when it is
continued, so that the pages of a study are a function of the ledger alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location, replace_file, stored
from results.ledger.files import STUDIES
from results.ledger.ledger import bytes_of, quarantine
from results.ledger.records import Experiment
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
    seal,
    unseal,
)

# What the config of a nested estimate holds beside that of its base experiment.
_OF_THE_SEARCH = ("search", "winners")
STATES = ("COMPLETE", "PRUNED", "FAIL")


def base_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's config without what a nested search has added to it."""
    return {name: part for name, part in config.items() if name not in _OF_THE_SEARCH}


def nested_digest(config: Mapping[str, Any], data_digest: str, teacher_digest: str | None) -> str:
    """Return the digest of a nested estimate.

    Args:
        config: of the base experiment, with ``search`` (how the winners were found) and
            ``winners`` (fold -> digest of the experiment that it was trained as).
        data_digest, teacher_digest: of the base experiment.
    """
    return digest16({"nested": dict(config), "data": data_digest, "teacher": teacher_digest})


def searched_method(method: str) -> str:
    """Return the name of a nested estimate's row."""
    return f"{method}, searched"


@dataclass(frozen=True)
class TrialRow:
    """One trial of a study.

    Attributes:
        number: from 0, in the order of the proposals; state: one of `STATES`.
        params: parameter -> value, as asked for; distributions: parameter -> Optuna's JSON.
        values: one per objective; None unless the trial is complete.
        val_uf1: pooled over the folds it saw, also if it was stopped.
        num_folds: folds it saw.
        reports: (step, value) as the pruning rule saw them.
        experiment: digest; seconds: of training; parameters: trainable numbers.
        why: of a failure.
    """

    number: int
    state: str
    params: Mapping[str, Any] = field(hash=False)
    distributions: Mapping[str, str] = field(hash=False)
    values: tuple[float, ...] | None
    val_uf1: float | None
    num_folds: int
    reports: tuple[tuple[int, float], ...]
    experiment: str
    seconds: float
    parameters: int
    why: str

    def __post_init__(self) -> None:
        for name in ("number", "num_folds", "parameters"):
            check_count(name, getattr(self, name))
        check_choice("state", self.state, STATES)
        for name in ("params", "distributions"):
            object.__setattr__(self, name, check_mapping(name, getattr(self, name)))
        if self.values is not None:
            object.__setattr__(self, "values", check_numbers("values", self.values))
        pairs = [check_numbers("a report", pair) for pair in check_list("reports", self.reports)]
        object.__setattr__(self, "reports", tuple((int(step), value) for step, value in pairs))
        if (self.state == "COMPLETE") != (self.values is not None):
            raise DadnetError(f"trial {self.number} is {self.state} with values {self.values}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, value: object) -> TrialRow:
        """Return the trial of a JSON object; raises `DadnetError` on wrong keys."""
        return cls(**check_keys("trial", value, [item.name for item in fields(cls)]))


@dataclass(frozen=True)
class StudyRecord:
    """A search whose trials have ended.

    Attributes:
        digest: of everything that changes the search but the number of trials; name: in Optuna.
        dataset, protocol, class_set: of its experiments.
        level: ``inner``, or ``nested`` for the study of one outer group.
        group: which outer group was left out, such as ``1 of 5``; "" where none was.
        space: name of the search space; num_subjects: subjects that the search saw.
        objectives: names; the first is maximised, the second minimised.
        folds: (names) in the order in which every trial takes them.
        trials: all, by number.
        winner: number of the best trial; None if none is complete.
        scored: digests of the experiments in the ledger that got their test side from it.
    """

    digest: str
    name: str
    dataset: str
    protocol: str
    class_set: str
    level: str
    group: str
    space: str
    num_subjects: int
    objectives: tuple[str, ...]
    folds: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    winner: int | None
    scored: tuple[str, ...]

    def __post_init__(self) -> None:
        check_digest("the study's digest", self.digest)
        for name in ("name", "dataset", "protocol", "class_set", "space"):
            check_text(name, getattr(self, name))
        check_text("group", self.group, empty=True)
        check_choice("level", self.level, ("inner", "nested"))
        check_count("num_subjects", self.num_subjects)
        for name in ("objectives", "folds", "scored"):
            object.__setattr__(self, name, check_names(name, getattr(self, name)))
        object.__setattr__(self, "trials", check_list("trials", self.trials))
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise DadnetError(f"study {self.name} lacks some of its trials")
        if self.winner is not None and self.trials[self.winner].state != "COMPLETE":
            raise DadnetError(f"the winner of {self.name}, {self.winner}, is not complete")

    @property
    def best(self) -> TrialRow | None:
        """The winner's row."""
        return None if self.winner is None else self.trials[self.winner]

    def counts(self) -> dict[str, int]:
        """How many trials ended in each state."""
        return {state: sum(t.state == state for t in self.trials) for state in STATES}

    def to_json(self) -> str:
        """Return the canonical JSON text, with schema and checksum."""
        payload = {item.name: getattr(self, item.name) for item in fields(self)}
        trials = [trial.to_dict() for trial in self.trials]
        return seal({**payload, "trials": trials, "schema": SCHEMA})

    @classmethod
    def from_json(cls, text: str | bytes) -> StudyRecord:
        """Return the study of `to_json`'s text; raises `DadnetError` if it is damaged."""
        names = [item.name for item in fields(cls)]
        payload = check_keys("study", unseal(text, "study"), {*names, "schema"})
        del payload["schema"]
        rows = tuple(TrialRow.from_dict(row) for row in check_list("trials", payload["trials"]))
        return cls(**{**payload, "trials": rows})


class StudyLedger:
    """The studies below a ledger's folder.

    Args:
        root: the ledger's folder, or a URI.
    """

    def __init__(self, root: str | Location) -> None:
        self.root = location(root)

    def folder(self, digest: str) -> Location:
        """Where a study keeps its files."""
        return self.root / STUDIES / check_digest("the study's digest", digest)

    def put(self, study: StudyRecord) -> None:
        """Write or replace a study's record, atomically."""
        replace_file(self.folder(study.digest) / "study.json", f"{study.to_json()}\n")

    def of(self, experiment: Experiment) -> tuple[StudyRecord, ...]:
        """The studies whose winner this experiment is."""
        return tuple(study for study in self.studies() if experiment.digest in study.scored)

    def studies(self) -> tuple[StudyRecord, ...]:
        """Every study with a valid record, sorted by name; a damaged one is moved aside."""
        found = []
        folder = self.root / STUDIES
        for name in stored(folder).folders():
            path = folder / name / "study.json"
            data = bytes_of(path)
            if data is None:
                continue
            try:
                found.append(StudyRecord.from_json(data))
            except DadnetError as error:
                quarantine(path, path.parent, data, str(error))
        return tuple(sorted(found, key=lambda study: study.name))
