"""The validation side of a trained fold: all that a search may know of it.

A fold has two sides. Training gives the validation side, kept here; scoring the test clips once
with the chosen weights gives the `FoldRecord`. `run_loso` writes both. A search writes only the
first, and keeps the weights of its best trial, so that the winner's test side can be scored
later without training anything again:

    <root>/<dataset>/<digest>/val/<fold>.val.json
                              searched/<fold>.safetensors
                              searched/.kept-for-<study>

Nothing in here has a field for a test clip, so no search can read one through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, replace_file, stored
from dadnet.labels.metrics import uf1
from results.ledger.files import read_whole, set_damage_aside, write_whole
from results.ledger.ledger import Ledger, file_name
from results.ledger.records import Experiment, check_host
from results.ledger.sealed import (
    Count,
    Curves,
    Digest,
    JsonObject,
    Names1,
    Sealed,
    Text,
    check_mapping,
    finite,
)

IntArray = npt.NDArray[np.int64]
# Counts as a record holds them: (K, K), or (K, 2, 2) of labels.
Nested = tuple[tuple[int | tuple[int, ...], ...], ...]


class ValSide(Sealed, frozen=True):
    """What a trained fold reached on its validation subjects, with the chosen weights.

    Attributes:
        experiment: digest of the experiment; fold: name of the planned fold.
        fit_subjects, val_subjects: disjoint.
        chosen_epoch, epochs_run: counted from 1.
        curves: as in `FoldRecord`.
        confusion: (K, K) counts of the val clips, rows = truth, in the experiment's class order;
            of several labels (K, 2, 2).
        log_losses: subject -> mean of -ln p(truth) over its val clips, in nats; None where it is
            not finite, which is what a training that diverged leaves.
        parameters: trainable numbers of the network.
        host: times, machine, versions; may differ between two runs.
    """

    record_kind: ClassVar[str] = "val side"

    experiment: Digest
    fold: Text
    fit_subjects: Names1
    val_subjects: Names1
    chosen_epoch: Count
    epochs_run: Count
    curves: Curves
    confusion: Nested
    log_losses: Mapping[str, float | None]
    parameters: Count
    host: JsonObject

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "curves", finite(self.curves))
        msgspec.structs.force_setattr(self, "confusion", nested(self.confusion))
        super().__post_init__()
        check_host(self.host)
        if set(check_mapping(self.log_losses)) != set(self.val_subjects):
            raise DadnetError(
                f"expected a log-loss for each of {self.val_subjects}, got: {self.log_losses}"
            )
        if shared := set(self.fit_subjects) & set(self.val_subjects):
            raise DadnetError(f"fold {self.fold} has subjects on two sides: {sorted(shared)}")

    @property
    def log_loss(self) -> float:
        """Mean over the val subjects of a subject's mean log-loss; NaN if one is not finite."""
        losses = [math.nan if loss is None else loss for loss in self.log_losses.values()]
        return sum(losses) / len(losses)

    @property
    def uf1(self) -> float:
        """UF1 of the val clips, or macro F1 of labels; 0 where there is nothing to score."""
        figure = uf1(self.counts)
        return figure if math.isfinite(figure) else 0.0

    @property
    def counts(self) -> IntArray:
        """The confusion as an array, (K, K) or (K, 2, 2) int64."""
        return np.array(self.confusion, dtype=np.int64)

    @property
    def seconds(self) -> float:
        """Seconds of training that fall to this fold, of a stack its share."""
        return float(self.host.get("seconds") or 0.0) / int(self.host.get("stack") or 1)


class ValLedger:
    """The validation sides of a ledger; no record of a test clip can be read through it.

    Args:
        root: the ledger's folder.
    """

    def __init__(self, root: str | Location) -> None:
        self._ledger = Ledger(root)

    @property
    def root(self) -> Location:
        """The ledger's folder."""
        return self._ledger.root

    def path(self, experiment: Experiment, fold: str) -> Location:
        """Where the fold's val side lies or will lie."""
        return self._ledger.folder(experiment) / "val" / f"{file_name(fold)}.val.json"

    def weights_path(self, experiment: Experiment, fold: str) -> Location:
        """Where the fold's chosen weights lie or will lie."""
        return self._ledger.folder(experiment) / "searched" / f"{file_name(fold)}.safetensors"

    def put(self, experiment: Experiment, side: ValSide) -> bool:
        """Store a val side, once and atomically; False if a valid one was there.

        Raises:
            DadnetError: if it does not belong to the experiment.
        """
        _check(experiment, side)
        path, text = self.path(experiment, side.fold), side.to_json() + "\n"
        read = _reader(experiment, side.fold)
        return write_whole(path, self._ledger.folder(experiment), text, read) is None

    def get(self, experiment: Experiment, fold: str) -> ValSide | None:
        """The fold's val side; None if there is none, or none that can be used."""
        return read_whole(self.path(experiment, fold), _reader(experiment, fold))

    def get_or_set_aside(self, experiment: Experiment, fold: str) -> ValSide | None:
        """As `get`, for a run: a damaged one is moved to ``quarantine/`` with a `LedgerWarning`."""
        folder = self._ledger.folder(experiment)
        return set_damage_aside(self.path(experiment, fold), folder, _reader(experiment, fold))

    def missing(self, experiment: Experiment, folds: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the folds that have no val side, in their order."""
        return tuple(fold for fold in folds if self.get(experiment, fold) is None)

    def without_weights(self, experiment: Experiment, folds: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the folds whose val side or weights are not there, in their order."""
        return tuple(
            fold
            for fold in folds
            if not self.weights_path(experiment, fold).exists()
            or self.get(experiment, fold) is None
        )

    def keep_weights(self, experiment: Experiment, study: str) -> None:
        """Mark the experiment's weights as needed by a study."""
        replace_file(self._marker(experiment, study), "")

    def release_weights(self, experiment: Experiment, study: str) -> None:
        """Remove the weights, unless another study needs them."""
        marker = self._marker(experiment, study)
        marker.unlink(missing_ok=True)
        folder = stored(marker.parent)
        if not any(name.startswith(".kept-for-") for name in folder.names()):
            folder.remove_tree()

    def _marker(self, experiment: Experiment, study: str) -> Location:
        return self._ledger.folder(experiment) / "searched" / f".kept-for-{file_name(study)}"


def _reader(experiment: Experiment, fold: str) -> Callable[[bytes], ValSide]:
    def read(data: bytes) -> ValSide:
        side = ValSide.from_json(data)
        if side.fold != fold:
            raise DadnetError(f"expected fold {fold!r}, got: {side.fold!r}")
        _check(experiment, side)
        return side

    return read


def _check(experiment: Experiment, side: ValSide) -> None:
    if side.experiment != experiment.digest:
        raise DadnetError(f"expected a val side of {experiment.digest}, got: {side.experiment}")
    planned = {fold.name: fold for fold in experiment.folds}.get(side.fold)
    if planned is None:
        raise DadnetError(f"fold {side.fold!r} is not planned in experiment {experiment.digest}")
    if shared := set(planned.test_subjects) & {*side.fit_subjects, *side.val_subjects}:
        raise DadnetError(f"fold {side.fold} trains or validates on {sorted(shared)}")
    if side.counts.shape != shape_of(len(experiment.classes), experiment.multi_label):
        raise DadnetError(f"expected {len(experiment.classes)} classes, got: {side.counts.shape}")


def shape_of(num_classes: int, multi_label: bool) -> tuple[int, ...]:
    """Return the shape of one experiment's pooled counts."""
    return (num_classes, 2, 2) if multi_label else (num_classes, num_classes)


def nested(counts: object) -> Nested:
    """Return counts, an array or lists in lists, as tuples of whole numbers.

    Raises:
        DadnetError: if they are no (K, K) of classes or (K, 2, 2) of labels, from 0.
    """
    try:
        table = np.array(counts)
    except ValueError:  # rows of unequal length
        table = np.empty(0)
    square = table.ndim == 2 and table.shape[0] == table.shape[1]
    of_labels = table.ndim == 3 and table.shape[1:] == (2, 2)
    if not (square or of_labels) or table.dtype.kind != "i" or (table < 0).any():
        raise DadnetError(f"expected a confusion matrix (K, K) or (K, 2, 2), got: {counts}")
    tuples: Nested = _tuples(table.tolist())
    return tuples


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
