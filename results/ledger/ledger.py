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
                              name.json                (the name that a user gave)
                              quarantine/              (damaged files, kept for a look)

Reading changes nothing: a damaged file gives a `LedgerWarning` and counts as absent. A run calls
`Ledger.set_damage_aside` first. A file of another schema version stays, and no run writes over it.

The folder may lie on object storage (`dadnet.base.remote`): a record is then one conditional put.
Names become file names by percent-encoding, so that any printable name is safe and no two meet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from dadnet.base.disk import read_regular, remove_stale
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, is_remote, location, on_disk, stored, write_once
from results.ledger.files import (
    LedgerWarning,
    bytes_of,
    check_whole,
    file_name,
    read_whole,
    set_damage_aside,
    write_whole,
)
from results.ledger.quick import read_experiment
from results.ledger.records import Divergence, Experiment, FoldRecord, PlannedFold, check_record
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
            DadnetError: if another experiment, or one of another version, lies there under the
                same digest.
        """
        folder = self.folder(experiment)
        path, text = folder / "experiment.json", experiment.to_json() + "\n"
        if not is_remote(folder):
            remove_stale(folder)
        write_sources(experiment.config, folder)
        existing = write_whole(path, folder, text, self._experiment_reader(path))
        if existing is not None:
            _check_same(existing, experiment)

    def set_damage_aside(self, experiment: Experiment) -> None:
        """Move the damaged files of an experiment to ``quarantine/``; a run does this first.

        Raises:
            DadnetError: as `check`.
        """
        folder = self.folder(experiment)
        self._look(experiment, lambda path, *content: set_damage_aside(path, folder, *content))

    def check(self, experiment: Experiment) -> None:
        """Look whether an experiment can be written here; nothing is changed.

        Raises:
            DadnetError: if another version has written one of its files, or another experiment
                lies there under the same digest.
        """
        self._look(experiment, check_whole)

    def _look(self, experiment: Experiment, look: Callable[..., Any]) -> None:
        """Look at each file with its path, its reader and its content, if that was read."""
        path = self.folder(experiment) / "experiment.json"
        existing = look(path, self._experiment_reader(path))
        if existing is not None:
            _check_same(existing, experiment)
        for name, data in self._contents(experiment):
            look(self.fold_path(experiment, name), _record_reader(experiment, name), data)

    def is_begun(self, dataset: str, digest: str) -> bool:
        """Whether an experiment has been opened here, whatever became of it."""
        return (self.root / file_name(dataset) / digest / "experiment.json").exists()

    def missing(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the names of the planned folds without a valid record, in plan order."""
        done = {record.fold for record in self.records(experiment)}
        return tuple(fold.name for fold in experiment.folds if fold.name not in done)

    def put(self, experiment: Experiment, record: FoldRecord) -> bool:
        """Store a finished fold, once and atomically; a damaged record is moved out of its way.

        Returns:
            True if this call stored it; False if a valid record was there, which is left alone.

        Raises:
            DadnetError: if the record does not belong to the experiment, or one of another
                version is there.
        """
        check_record(experiment, record)
        path, text = self.fold_path(experiment, record.fold), record.to_json() + "\n"
        read = _record_reader(experiment, record.fold)
        return write_whole(path, self.folder(experiment), text, read) is None

    def records(self, experiment: Experiment) -> tuple[FoldRecord, ...]:
        """Return the valid records in plan order; any other gives a `LedgerWarning`."""
        found = (self.record(experiment, *content) for content in self._contents(experiment))
        return tuple(record for record in found if record is not None)

    def record(
        self, experiment: Experiment, fold: str, data: bytes | None = None
    ) -> FoldRecord | None:
        """Return one fold's valid record, or None; one that cannot be used gives a warning.

        `data` is the content of its file, if it was read already.
        """
        return read_whole(self.fold_path(experiment, fold), _record_reader(experiment, fold), data)

    def put_divergence(self, experiment: Experiment, divergence: Divergence) -> None:
        """Store that a fold has diverged, unless that is known."""
        path = self._diverged(experiment) / f"{file_name(divergence.fold)}.json"
        read = _divergence_reader(experiment, divergence.fold)
        write_whole(path, self.folder(experiment), divergence.to_json() + "\n", read)

    def divergence(self, experiment: Experiment, fold: str) -> Divergence | None:
        """Return what is known of a fold that has diverged; None of any other."""
        path = self._diverged(experiment) / f"{file_name(fold)}.json"
        return read_whole(path, _divergence_reader(experiment, fold))

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
        """Yield each planned fold with the bytes of its file, not looked at; None if absent.

        What is no file, or cannot be read, counts as empty: whoever reads it properly says why.
        """
        folder = f"{self.local_root}/{file_name(experiment.dataset)}/{experiment.digest}/folds"
        for fold in experiment.folds:
            try:
                yield fold, read_regular(f"{folder}/{file_name(fold.name)}.json")
            except (FileNotFoundError, NotADirectoryError):
                yield fold, None
            except (OSError, DadnetError):
                yield fold, b""

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
        paths = (folder / "experiment.json" for folder in self._folders())
        read = (read_whole(path, self._experiment_reader(path)) for path in paths)
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

    def _contents(self, experiment: Experiment) -> Iterator[tuple[str, bytes | None]]:
        """Yield each planned fold's name, with the content of its file where that was read.

        On object storage many are read at once; on a disk whoever uses one reads it.
        """
        names = [fold.name for fold in experiment.folds]
        folder = self.folder(experiment) / "folds"
        if is_remote(folder):
            read = folder.read_each([f"{file_name(name)}.json" for name in names])
            found = zip(names, read, strict=True)
            yield from ((name, data) for name, data in found if data is not None)
        else:
            yield from ((name, None) for name in names)

    def _experiment_reader(self, path: Location) -> Callable[[bytes], Experiment]:
        def read(data: bytes) -> Experiment:
            experiment = read_experiment(data) or Experiment.from_json(data)
            if self.folder(experiment) != path.parent:
                raise DadnetError(f"it describes {experiment.dataset}/{experiment.digest}")
            return experiment

        return read


def _has_records(folds: Location) -> bool:
    return any(name.endswith(".json") for name in stored(folds).names())


def _record_reader(experiment: Experiment, fold: str) -> Callable[[bytes], FoldRecord]:
    """Return a reader of one fold's record; it raises `DadnetError` on any other content."""

    def read(data: bytes) -> FoldRecord:
        record = FoldRecord.from_json(data)
        if record.fold != fold:
            raise DadnetError(f"expected fold {fold!r}, got: {record.fold!r}")
        check_record(experiment, record)
        return record

    return read


def _divergence_reader(experiment: Experiment, fold: str) -> Callable[[bytes], Divergence]:
    """Return a reader of one fold's divergence; it raises `DadnetError` on any other content."""

    def read(data: bytes) -> Divergence:
        divergence = Divergence.from_json(data)
        if (divergence.experiment, divergence.fold) != (experiment.digest, fold):
            raise DadnetError("it belongs to another fold")
        return divergence

    return read


def _check_same(existing: Experiment, experiment: Experiment) -> None:
    """Raise `DadnetError` unless the experiment that is there is the given one."""
    if existing != experiment:
        raise DadnetError(
            f"experiment {experiment.digest} is already in the ledger with other content (method "
            f"{existing.method!r})"
        )
