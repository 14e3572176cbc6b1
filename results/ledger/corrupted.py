"""Corrupted folds: the test clips of a finished fold scored again under a corruption.

    <root>/<dataset>/<digest>/robustness/<corruption>/<fold>.json

One sealed file per fold and corruption, written once, like a fold's record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from dadnet.base.errors import DadnetError
from dadnet.flow.corruptions import KINDS, VERSION
from dadnet.labels.tasks import Names
from results.ledger.files import read_whole, write_whole
from results.ledger.ledger import Ledger, file_name
from results.ledger.records import Experiment, FoldRecord, Prediction
from results.ledger.sealed import Digest, JsonObject, Sealed, Text


class CorruptedFold(Sealed, frozen=True):
    """A fold's test clips under one corruption, scored with the fold's kept weights.

    Attributes:
        experiment: digest; fold: name.
        weights_digest: of the kept weights, as in the fold's record.
        kind, severity: the corruption; version: of the kinds' definitions.
        predictions: one per test clip.
        host: what may differ between two runs.
    """

    record_kind: ClassVar[str] = "corrupted fold"

    experiment: Digest
    fold: Text
    weights_digest: Text
    kind: Text
    severity: float
    version: Annotated[int, msgspec.Meta(ge=1)]
    predictions: tuple[Prediction, ...]
    host: JsonObject

    @property
    def corruption(self) -> str:
        """Such as ``noise-0.3``."""
        return f"{self.kind}-{self.severity:g}"


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
        read = _reader(record, scored.corruption)
        folder = self.ledger.folder(experiment)
        return write_whole(path, folder, scored.to_json() + "\n", read) is None

    def get(
        self, experiment: Experiment, record: FoldRecord, corruption: str
    ) -> CorruptedFold | None:
        """The corrupted fold of a record; None if there is none, or none that can be used.

        One of other weights, clips or definitions cannot be used.
        """
        path = self.path(experiment, record.fold, corruption)
        return read_whole(path, _reader(record, corruption))

    def kinds(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the kinds of corruption of which anything was scored."""
        folder = self.folder(experiment)
        return tuple(kind for kind in KINDS if any(folder.glob(f"{kind}-*/*.json")))


def _reader(record: FoldRecord, corruption: str) -> Callable[[bytes], CorruptedFold]:
    def read(data: bytes) -> CorruptedFold:
        scored = CorruptedFold.from_json(data)
        _check(record, scored)
        if scored.corruption != corruption:
            raise DadnetError(f"expected {corruption}, got: {scored.corruption}")
        return scored

    return read


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
    for name, (expected, actual) in pairs.items():
        if expected != actual:
            raise DadnetError(
                f"{name} of the corrupted fold {scored.fold}: expected those of the record"
            )
