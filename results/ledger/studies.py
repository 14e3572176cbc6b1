"""What the ledger keeps of a search: every trial, the winner, and which experiment it became.

    <root>/.studies/<digest>/study.json

The file is a copy of the study's storage, made when a search ends and replaced when it is
continued, so that the pages of a study are a function of the ledger alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location, replace_file, stored
from results.ledger.files import STUDIES, file_name, read_whole, set_damage_aside
from results.ledger.records import Experiment
from results.ledger.sealed import (
    Count,
    Digest,
    FreeText,
    JsonObject,
    Record,
    Sealed,
    Text,
    check_choice,
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


class TrialRow(Record, frozen=True):
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

    record_kind: ClassVar[str] = "trial"

    number: Count
    state: str
    params: JsonObject
    distributions: Mapping[str, str]
    values: tuple[float, ...] | None
    val_uf1: float | None
    num_folds: Count
    reports: tuple[tuple[int, float], ...]
    experiment: str
    seconds: float
    parameters: Count
    why: FreeText

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("state", self.state, STATES)
        if (self.state == "COMPLETE") != (self.values is not None):
            raise DadnetError(f"trial {self.number} is {self.state} with values {self.values}")


class StudyRecord(Sealed, frozen=True):
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

    record_kind: ClassVar[str] = "study"

    digest: Digest
    name: Text
    dataset: Text
    protocol: Text
    class_set: Text
    level: str
    group: str
    space: Text
    num_subjects: Count
    objectives: tuple[str, ...]
    folds: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    winner: int | None
    scored: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("level", self.level, ("inner", "nested"))
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


class StudyLedger:
    """The studies below a ledger's folder.

    Args:
        root: the ledger's folder, or a URI.
    """

    def __init__(self, root: str | Location) -> None:
        self.root = location(root)

    def folder(self, digest: str) -> Location:
        """Where a study keeps its files."""
        return self.root / STUDIES / file_name(digest)

    def put(self, study: StudyRecord) -> None:
        """Write or replace a study's record, atomically; raises what `check` raises."""
        self.check(study.digest)
        replace_file(self.folder(study.digest) / "study.json", f"{study.to_json()}\n")

    def check(self, digest: str) -> None:
        """Move a damaged record of a study aside; a search does this before its first trial.

        Raises:
            OtherVersionError: if another version has written it.
        """
        folder = self.folder(digest)
        set_damage_aside(folder / "study.json", folder, StudyRecord.from_json)

    def of(self, experiment: Experiment) -> tuple[StudyRecord, ...]:
        """The studies whose winner this experiment is."""
        return tuple(study for study in self.studies() if experiment.digest in study.scored)

    def studies(self) -> tuple[StudyRecord, ...]:
        """Every study with a valid record, sorted by name; any other gives a `LedgerWarning`."""
        folder = self.root / STUDIES
        paths = (folder / name / "study.json" for name in stored(folder).folders())
        read = [read_whole(path, StudyRecord.from_json) for path in paths]
        return tuple(sorted(filter(None, read), key=lambda study: study.name))
