"""The student's pooled features beside a fold's record, for the page of its run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from results.ledger.files import read_whole, write_whole
from results.ledger.ledger import Ledger, file_name
from results.ledger.records import Experiment
from results.ledger.sealed import Digest, Names1, Sealed, Text

FloatArray = npt.NDArray[np.float64]


class _Stored(Sealed, frozen=True):
    record_kind: ClassVar[str] = "features"

    experiment: Digest
    fold: Text
    clip_ids: Names1
    features: tuple[tuple[float, ...], ...]
    class_means: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Features:
    """The student's pooled features of a fold's test clips, before the linear layer.

    Attributes:
        experiment: digest; fold: name.
        clip_ids: (N,) of the test clips.
        features: (N, D).
        class_means: (K, D), the mean feature of the fit clips of each class. Every fold has its
            own student, whose axes mean nothing elsewhere; relative to its own class means a
            clip can be shown beside those of other folds.
    """

    experiment: str
    fold: str
    clip_ids: tuple[str, ...]
    features: FloatArray
    class_means: FloatArray

    def __post_init__(self) -> None:
        shapes = (self.features.shape, self.class_means.shape)
        if (
            self.features.ndim != 2
            or self.class_means.ndim != 2
            or len(self.features) != len(self.clip_ids)
            or shapes[0][1] != shapes[1][1]
        ):
            raise DadnetError(f"expected features (N, D) and class means (K, D), got: {shapes}")
        if not (np.isfinite(self.features).all() and np.isfinite(self.class_means).all()):
            raise DadnetError("expected finite features, got: NaN or infinity")

    def to_json(self) -> str:
        """Return the sealed text; values are rounded to six significant digits."""
        tables = (_rounded(self.features), _rounded(self.class_means))
        return _Stored(self.experiment, self.fold, self.clip_ids, *tables).to_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Features:
        """Return the features of `to_json`'s text; raises `DadnetError` on damage."""
        stored = _Stored.from_json(text)
        try:
            tables = np.array(stored.features), np.array(stored.class_means)
        except ValueError as error:
            raise DadnetError(f"expected rows of one length, got: {error}") from error
        return cls(stored.experiment, stored.fold, stored.clip_ids, *tables)


def put_features(ledger: Ledger, experiment: Experiment, features: Features) -> bool:
    """Store a fold's features once, atomically; False if whole ones are there already.

    Damaged ones are moved to ``quarantine/`` with a `LedgerWarning`.
    """
    path, text = _path(ledger, experiment, features.fold), features.to_json() + "\n"
    read = partial(_read, experiment, features.fold)
    return write_whole(path, ledger.folder(experiment), text, read) is None


def read_features(ledger: Ledger, experiment: Experiment) -> list[Features]:
    """Return the stored features of the experiment's folds; what cannot be used gives a warning."""
    found = (
        read_whole(_path(ledger, experiment, fold.name), partial(_read, experiment, fold.name))
        for fold in experiment.folds
    )
    return [features for features in found if features is not None]


def _path(ledger: Ledger, experiment: Experiment, fold: str) -> Location:
    return ledger.folder(experiment) / "features" / f"{file_name(fold)}.json"


def _read(experiment: Experiment, fold: str, data: bytes) -> Features:
    features = Features.from_json(data)
    if (features.experiment, features.fold) != (experiment.digest, fold):
        raise DadnetError("it belongs to another fold")
    return features


def _rounded(table: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in table.tolist())
