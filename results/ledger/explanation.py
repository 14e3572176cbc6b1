"""The explanation of an experiment: what its networks do with the test clips, as numbers.

    <root>/<dataset>/<digest>/explain/explanation.json

Made by `python -m orchestration.explain` from kept weights, sealed, and shown on the run page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file
from results.ledger.files import read_whole
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment
from results.ledger.sealed import Digest, JsonObject, Sealed, check_mapping

THETA = ("angle, degrees", "zoom", "shift right, share of the side", "shift down, share")


class Explanation(Sealed, frozen=True):
    """What was seen; floats in lists, to six digits.

    Attributes:
        experiment: digest.
        theta: clip id -> the numbers of `THETA`; empty without a spatial transformer.
        channels: for each channel attention its weights in falling order, at equally spaced
            ranks: low, middle and high (10, 50 and 90 % over the folds).
        gradients: for each stage the share of the gradient branch and its mean map per class.
        densities: for each aligned stage the Gaussian sliced distance, before and after, and the
            densities of both streams along one direction; empty without a teacher.
        density_fold: the fold that these are of; "" without.
    """

    record_kind: ClassVar[str] = "explanation"

    experiment: Digest
    theta: Mapping[str, tuple[float, ...]]
    channels: tuple[JsonObject, ...]
    gradients: tuple[JsonObject, ...]
    densities: tuple[JsonObject, ...]
    density_fold: str

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "gradients", "densities"):
            copies = tuple(check_mapping(item) for item in getattr(self, name))
            msgspec.structs.force_setattr(self, name, copies)


def explanation_path(ledger: Ledger, experiment: Experiment) -> Path:
    """Where an experiment's explanation lies or will lie."""
    return ledger.local_folder(experiment) / "explain" / "explanation.json"


def put_explanation(ledger: Ledger, experiment: Experiment, explanation: Explanation) -> Path:
    """Write an explanation in the place of any other; it follows from weights and flows alone."""
    path = explanation_path(ledger, experiment)
    replace_file(path, explanation.to_json() + "\n")
    return path


def read_explanation(ledger: Ledger, experiment: Experiment) -> Explanation | None:
    """Return the experiment's explanation; None if there is none, or none that can be used."""

    def read(data: bytes) -> Explanation:
        found = Explanation.from_json(data)
        if found.experiment != experiment.digest:
            raise DadnetError(f"it is of {found.experiment}")
        return found

    return read_whole(explanation_path(ledger, experiment), read)
