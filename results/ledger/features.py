"""The student's pooled features beside a fold's record, for the page of its run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError
from results.ledger.ledger import Ledger, file_name, write_once
from results.ledger.records import Experiment
from results.ledger.sealed import (
    SCHEMA,
    check_digest,
    check_keys,
    check_list,
    check_names,
    check_numbers,
    check_text,
    seal,
    unseal,
)

FloatArray = npt.NDArray[np.float64]


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
        check_digest("the experiment of the features", self.experiment)
        check_text("fold", self.fold)
        check_names("clips of the features", self.clip_ids, least=1)
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
        return seal(
            {
                "schema": SCHEMA,
                "experiment": self.experiment,
                "fold": self.fold,
                "clip_ids": list(self.clip_ids),
                "features": _rounded(self.features),
                "class_means": _rounded(self.class_means),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Features:
        """Return the features of `to_json`'s text; raises `DadnetError` on damage."""
        keys = ("schema", "experiment", "fold", "clip_ids", "features", "class_means")
        value = check_keys("features", unseal(text, "features"), keys)
        tables = {
            name: np.array(
                [check_numbers(name, row) for row in check_list(name, value[name])], dtype=float
            )
            for name in ("features", "class_means")
        }
        clip_ids = check_names("clip_ids", value["clip_ids"], least=1)
        return cls(value["experiment"], value["fold"], clip_ids, **tables)


def put_features(ledger: Ledger, experiment: Experiment, features: Features) -> bool:
    """Store a fold's features once, atomically; False if there are some already."""
    name = f"{file_name(features.fold)}.json"
    path = ledger.folder(experiment) / "features" / name
    return write_once(path, features.to_json() + "\n")


def read_features(ledger: Ledger, experiment: Experiment) -> list[Features]:
    """Return the stored features of the experiment's folds; none is no error, damage is one.

    Raises:
        DadnetError: naming the damaged file.
    """
    found = []
    for fold in experiment.folds:
        path = ledger.folder(experiment) / "features" / f"{file_name(fold.name)}.json"
        if path.exists():
            try:
                features = Features.from_json(path.read_bytes())
                if (features.experiment, features.fold) != (experiment.digest, fold.name):
                    raise DadnetError("it belongs to another fold")
            except DadnetError as error:
                raise DadnetError(f"{path}: {error}") from error
            found.append(features)
    return found


def _rounded(table: FloatArray) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in row] for row in table.tolist()]
