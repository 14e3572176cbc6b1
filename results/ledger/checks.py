"""Whether a file of the ledger is the one that its name promises."""

from __future__ import annotations

from collections.abc import Callable

from dadnet.base.errors import DadnetError
from results.ledger.records import Divergence, Experiment, FoldRecord


def record_reader(experiment: Experiment, fold: str) -> Callable[[bytes], FoldRecord]:
    """Return a reader of one fold's record; it raises `DadnetError` on any other content."""

    def read(data: bytes) -> FoldRecord:
        record = FoldRecord.from_json(data)
        if record.fold != fold:
            raise DadnetError(f"expected fold {fold!r}, got: {record.fold!r}")
        check_record(experiment, record)
        return record

    return read


def divergence_reader(experiment: Experiment, fold: str) -> Callable[[bytes], Divergence]:
    """Return a reader of one fold's divergence; it raises `DadnetError` on any other content."""

    def read(data: bytes) -> Divergence:
        divergence = Divergence.from_json(data)
        if (divergence.experiment, divergence.fold) != (experiment.digest, fold):
            raise DadnetError("it belongs to another fold")
        return divergence

    return read


def check_same(existing: Experiment, experiment: Experiment) -> None:
    """Raise `DadnetError` unless the experiment that is there is the given one."""
    if existing != experiment:
        raise DadnetError(
            f"experiment {experiment.digest} is already in the ledger with other content (method "
            f"{existing.method!r})"
        )


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
