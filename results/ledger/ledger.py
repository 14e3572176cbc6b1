"""The ledger: a folder in which every finished fold is one file, written once and checked.

    <root>/<dataset>/<digest>/experiment.json
                              folds/<fold>.json
                              val/<fold>.val.json       (of the training side; see val_side)
                              diverged/<fold>.json     (folds that are not tried again)
                              checkpoints/<fold>.pt    (of the training side)
                              weights/<fold>.safetensors  (of the training side, if kept)
                              events.jsonl             (of the training side)
                              events/<run>.jsonl       (the same on object storage)
                              claims/                  (which run makes which fold)
                              source/                  (a user's own network, as text)
                              quarantine/              (damaged files, kept for a look)

The folder may lie on object storage (`dadnet.base.remote`): a record is then one conditional put.
Names become file names by percent-encoding, so that any printable name is safe and no two meet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from dadnet.base.disk import remove_stale
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, is_remote, location, on_disk, stored, write_once
from results.ledger.files import LedgerWarning, bytes_of, file_name, read_quickly, read_whole
from results.ledger.quick import read_experiment
from results.ledger.records import Divergence, Experiment, FoldRecord, PlannedFold
from results.ledger.sources import write_sources

__all__ = ["Ledger", "LedgerWarning", "bytes_of", "check_record", "file_name", "write_once"]


class Ledger:
    """The finished folds below one folder; every process may read and write it at any time.

    Args:
        root: the folder, or a URI; it is made when the first experiment is opened.
    """

    def __init__(self, root: str | Location) -> None:
        self.root = location(root)

    @property
    def local_root(self) -> Path:
        """The root of a ledger in a folder; one on object storage is read through a mirror."""
        return on_disk(self.root)

    def open(self, experiment: Experiment) -> None:
        """Write the experiment's file if it is absent; remove what killed writers have left.

        Raises:
            DadnetError: if another experiment lies there under the same digest.
        """
        path = self.folder(experiment) / "experiment.json"
        if not is_remote(path):
            remove_stale(path.parent)
        text = experiment.to_json() + "\n"
        write_sources(experiment.config, path.parent)
        while not write_once(path, text):
            existing = self._read_experiment(path)
            if existing is None:  # it was damaged and has been moved aside: write again
                continue
            if existing != experiment:
                raise DadnetError(
                    f"experiment {experiment.digest} is already in {path.parent} "
                    f"with other content (method {existing.method!r})"
                )
            return

    def is_begun(self, dataset: str, digest: str) -> bool:
        """Whether an experiment has been opened here, whatever became of it."""
        return (self.root / file_name(dataset) / digest / "experiment.json").exists()

    def missing(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the names of the planned folds without a valid record, in plan order.

        A damaged record is moved to ``quarantine/`` with a `LedgerWarning`.
        """
        done = {record.fold for record in self.records(experiment)}
        return tuple(fold.name for fold in experiment.folds if fold.name not in done)

    def put(self, experiment: Experiment, record: FoldRecord) -> bool:
        """Store a finished fold, once and atomically.

        Returns:
            True if this call stored it; False if a valid record was there, which is left alone.

        Raises:
            DadnetError: if the record does not belong to the experiment.
        """
        check_record(experiment, record)
        path = self.fold_path(experiment, record.fold)
        while not write_once(path, record.to_json() + "\n"):
            if self.record(experiment, record.fold) is not None:
                return False
        return True

    def records(self, experiment: Experiment) -> tuple[FoldRecord, ...]:
        """Return the valid records in plan order; damaged ones are moved aside as in `missing`."""
        names = [fold.name for fold in experiment.folds]
        folds = stored(self.folder(experiment) / "folds")
        read = folds.read_each([f"{file_name(name)}.json" for name in names])
        found = (
            self.record(experiment, name, data)
            for name, data in zip(names, read, strict=True)
            if data is not None
        )
        return tuple(record for record in found if record is not None)

    def record(
        self, experiment: Experiment, fold: str, data: bytes | None = None
    ) -> FoldRecord | None:
        """Return one fold's valid record, or None; a damaged one is moved aside.

        `data` is the content of its file, if it was read already.
        """

        def read(data: bytes) -> FoldRecord:
            record = FoldRecord.from_json(data)
            if record.fold != fold:
                raise DadnetError(f"expected fold {fold!r}, got: {record.fold!r}")
            check_record(experiment, record)
            return record

        path = self.fold_path(experiment, fold)
        return read_whole(path, self.folder(experiment), read, data)

    def put_divergence(self, experiment: Experiment, divergence: Divergence) -> None:
        """Store that a fold has diverged, unless that is known."""
        path = self._diverged(experiment) / f"{file_name(divergence.fold)}.json"
        while not write_once(path, divergence.to_json() + "\n"):
            if self.divergence(experiment, divergence.fold) is not None:
                return

    def divergence(self, experiment: Experiment, fold: str) -> Divergence | None:
        """Return what is known of a fold that has diverged; None of any other."""

        def read(data: bytes) -> Divergence:
            divergence = Divergence.from_json(data)
            if (divergence.experiment, divergence.fold) != (experiment.digest, fold):
                raise DadnetError("it belongs to another fold")
            return divergence

        path = self._diverged(experiment) / f"{file_name(fold)}.json"
        return read_whole(path, self.folder(experiment), read)

    def divergences(self, experiment: Experiment) -> tuple[Divergence, ...]:
        """Return the folds without a record that have diverged, in plan order."""
        names = set(stored(self._diverged(experiment)).names())
        found = (
            self.divergence(experiment, fold.name)
            for fold in experiment.folds
            if f"{file_name(fold.name)}.json" in names
            and not self.fold_path(experiment, fold.name).exists()
        )
        return tuple(divergence for divergence in found if divergence is not None)

    def forget_divergences(self, experiment: Experiment) -> None:
        """Remove what is known of folds that have diverged: they are tried again."""
        stored(self._diverged(experiment)).remove_tree()

    def _diverged(self, experiment: Experiment) -> Location:
        return self.folder(experiment) / "diverged"

    def read_all(self, experiment: Experiment) -> Iterator[tuple[PlannedFold, bytes | None]]:
        """Yield each planned fold with the bytes of its file, not looked at; None if absent."""
        folder = f"{self.local_root}/{file_name(experiment.dataset)}/{experiment.digest}/folds"
        for fold in experiment.folds:
            try:
                yield fold, read_quickly(f"{folder}/{file_name(fold.name)}.json")
            except FileNotFoundError:
                yield fold, None

    def find(self, digest: str | None) -> Experiment:
        """Return the experiment whose digest begins so; without one, the only one there is.

        Raises:
            DadnetError: if there is none, or several; it lists them.
        """
        experiments = self.experiments()
        matches = [e for e in experiments if e.digest.startswith(digest or "")]
        if len(matches) != 1:
            names = [f"{e.digest} ({e.method}, {e.dataset})" for e in (matches or experiments)[:8]]
            raise DadnetError(
                f"expected the digest of one experiment, got: {digest!r}; "
                f"there: {', '.join(names) or 'none'}"
            )
        return matches[0]

    def experiments(self) -> tuple[Experiment, ...]:
        """Return every experiment, sorted by dataset, method, seed and digest."""
        read = (self._read_experiment(folder / "experiment.json") for folder in self._folders())
        found = [experiment for experiment in read if experiment is not None]
        found.sort(key=lambda e: (e.dataset, e.method, -1 if e.seed is None else e.seed, e.digest))
        return tuple(found)

    def orphans(self, known: Collection[Experiment] | None = None) -> tuple[Location, ...]:
        """Return the folders that hold records but no readable experiment.json, sorted.

        `known` are the experiments, if they have just been read.
        """
        found = self.experiments() if known is None else known
        whole = {str(self.folder(experiment)) for experiment in found}
        left = (folder for folder in self._folders() if str(folder) not in whole)
        return tuple(folder for folder in left if _has_records(folder / "folds"))

    def local_folder(self, experiment: Experiment) -> Path:
        """Where the experiment lies on this machine, for what is not kept on object storage.

        Raises:
            DadnetError: if the ledger is on object storage.
        """
        return on_disk(self.folder(experiment))

    def folder(self, experiment: Experiment) -> Location:
        """Return the experiment's folder, ``<root>/<dataset>/<digest>``."""
        return self.root / file_name(experiment.dataset) / experiment.digest

    def fold_path(self, experiment: Experiment, fold: str) -> Location:
        """Return where the fold's record lies or will lie."""
        return self.folder(experiment) / "folds" / f"{file_name(fold)}.json"

    def checkpoint_path(self, experiment: Experiment, fold: str) -> Location:
        """Return where the training side may keep the fold's checkpoint."""
        return self.folder(experiment) / "checkpoints" / f"{file_name(fold)}.pt"

    def weights_path(self, experiment: Experiment, fold: str) -> Location:
        """Return where the training side may keep the fold's weights."""
        return self.folder(experiment) / "weights" / f"{file_name(fold)}.safetensors"

    def events_path(self, experiment: Experiment) -> Location:
        """Return where the training side may keep the experiment's event log."""
        return self.folder(experiment) / "events.jsonl"

    def _folders(self) -> list[Location]:
        # No name gives a hidden folder (see `file_name`): those belong to others.
        names = (name for name in stored(self.root).folders(2) if not name.startswith("."))
        return [self.root / name for name in names]

    def _read_experiment(self, path: Location) -> Experiment | None:
        def read(data: bytes) -> Experiment:
            experiment = read_experiment(data) or Experiment.from_json(data)
            if self.folder(experiment) != path.parent:
                raise DadnetError(f"it describes {experiment.dataset}/{experiment.digest}")
            return experiment

        return read_whole(path, path.parent, read)


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


def _has_records(folds: Location) -> bool:
    return any(name.endswith(".json") for name in stored(folds).names())
