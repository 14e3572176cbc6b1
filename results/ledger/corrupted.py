"""Corrupted folds: the test clips of a finished fold scored again under a corruption.

    <root>/<dataset>/<digest>/robustness/<corruption>/<fold>.json

One sealed file per fold and corruption, written once, like a fold's record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.flow.corruptions import KINDS, VERSION
from dadnet.labels.tasks import Names
from results.ledger.ledger import Ledger, bytes_of, file_name, quarantine, write_once
from results.ledger.records import Experiment, FoldRecord, Prediction
from results.ledger.sealed import (
    SCHEMA,
    check_count,
    check_digest,
    check_keys,
    check_list,
    check_mapping,
    check_numbers,
    check_text,
    seal,
    unseal,
)


@dataclass(frozen=True)
class CorruptedFold:
    """A fold's test clips under one corruption, scored with the fold's kept weights.

    Attributes:
        experiment: digest; fold: name.
        weights_digest: of the kept weights, as in the fold's record.
        kind, severity: the corruption; version: of the kinds' definitions.
        predictions: one per test clip.
        host: what may differ between two runs.
    """

    experiment: str
    fold: str
    weights_digest: str
    kind: str
    severity: float
    version: int
    predictions: tuple[Prediction, ...]
    host: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        check_digest("the corrupted fold's experiment", self.experiment)
        for name in ("fold", "weights_digest", "kind"):
            check_text(name, getattr(self, name))
        (severity,) = check_numbers("severity", [self.severity])
        object.__setattr__(self, "severity", severity)
        check_count("version", self.version, least=1)
        object.__setattr__(self, "predictions", check_list("predictions", self.predictions))
        object.__setattr__(self, "host", check_mapping("host", self.host))

    @property
    def corruption(self) -> str:
        """Such as ``noise-0.3``."""
        return f"{self.kind}-{self.severity:g}"

    def to_json(self) -> str:
        """Return the canonical JSON text, with schema and checksum."""
        payload = {name: getattr(self, name) for name in _NAMES}
        rows = [row.to_dict() for row in self.predictions]
        return seal({**payload, "predictions": rows, "schema": SCHEMA})

    @classmethod
    def from_json(cls, text: str | bytes) -> CorruptedFold:
        """Return the fold of `to_json`'s text; raises `DadnetError` on any damage."""
        kind = "corrupted fold"
        payload = check_keys(kind, unseal(text, kind), {*_NAMES, "schema"})
        del payload["schema"]
        rows = check_list("predictions", payload["predictions"])
        return cls(**{**payload, "predictions": tuple(Prediction.from_dict(row) for row in rows)})


_NAMES = tuple(item.name for item in fields(CorruptedFold))


class RobustnessLedger:
    """The corrupted folds beside a ledger's records.

    Args:
        root: the ledger's folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.ledger = Ledger(root)

    def folder(self, experiment: Experiment) -> Path:
        """Where the experiment's corrupted folds lie."""
        return self.ledger.local_folder(experiment) / "robustness"

    def path(self, experiment: Experiment, fold: str, corruption: str) -> Path:
        """Where one corrupted fold lies or will lie."""
        return self.folder(experiment) / file_name(corruption) / f"{file_name(fold)}.json"

    def put(self, experiment: Experiment, record: FoldRecord, scored: CorruptedFold) -> bool:
        """Store a corrupted fold, once and atomically; False if a valid one was there.

        Raises:
            DadnetError: if it does not belong to the record.
        """
        _check(record, scored)
        path = self.path(experiment, scored.fold, scored.corruption)
        while not write_once(path, scored.to_json() + "\n"):
            if self.get(experiment, record, scored.corruption) is not None:
                return False
        return True

    def get(
        self, experiment: Experiment, record: FoldRecord, corruption: str
    ) -> CorruptedFold | None:
        """The corrupted fold of a record, None if there is none.

        A damaged one, or one of other weights, clips or definitions, is moved aside.
        """
        path = self.path(experiment, record.fold, corruption)
        data = bytes_of(path)
        if data is None:
            return None
        try:
            scored = CorruptedFold.from_json(data)
            _check(record, scored)
            if scored.corruption != corruption:
                raise DadnetError(f"expected {corruption}, got: {scored.corruption}")
        except DadnetError as error:
            quarantine(path, self.ledger.folder(experiment), data, str(error))
            return None
        return scored

    def kinds(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the kinds of corruption of which anything was scored."""
        folder = self.folder(experiment)
        return tuple(kind for kind in KINDS if any(folder.glob(f"{kind}-*/*.json")))


def _check(record: FoldRecord, scored: CorruptedFold) -> None:
    def truth(rows: Iterable[Prediction]) -> list[tuple[str, str, Names]]:
        return sorted((row.clip_id, row.subject, row.label) for row in rows)

    pairs = {
        "experiment": (record.experiment, scored.experiment),
        "fold": (record.fold, scored.fold),
        "weights": (record.host.get("weights_digest"), scored.weights_digest),
        "clips": (truth(record.predictions), truth(scored.predictions)),
        "version": (VERSION, scored.version),
    }
    for name, (expected, given) in pairs.items():
        if expected != given:
            raise DadnetError(
                f"{name} of the corrupted fold {scored.fold}: expected those of the record"
            )
