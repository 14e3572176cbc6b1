"""The ledger: a folder in which every finished fold is one file, written once and checked.

    <root>/<dataset>/<digest>/experiment.json
                              folds/<fold>.json
                              val/<fold>.val.json       (of the training side; see val_side)
                              checkpoints/<fold>.pt    (of the training side)
                              weights/<fold>.safetensors  (of the training side, if kept)
                              events.jsonl             (of the training side)
                              quarantine/              (damaged files, kept for a look)
    <root>/.index.jsonl       (what `results.account` remembers; may be deleted at any time)

Names become file names by percent-encoding, so that any printable name is safe and no two meet.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from dadnet.errors import DadnetError
from results.reading import read_experiment
from results.records import Experiment, FoldRecord, PlannedFold

_LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names need some of it


class LedgerWarning(UserWarning):
    """Something in the ledger is damaged and was moved aside."""


class Ledger:
    """The finished folds below one folder; every process may read and write it at any time.

    Args:
        root: the folder; it is made when the first experiment is opened.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def open(self, experiment: Experiment) -> None:
        """Write the experiment's file if it is absent.

        Raises:
            DadnetError: if another experiment lies there under the same digest.
        """
        path = self.folder(experiment) / "experiment.json"
        text = experiment.to_json() + "\n"
        while not write_once(path, text):
            stored = self._read_experiment(path)
            if stored is None:  # it was damaged and has been moved aside: write again
                continue
            if stored != experiment:
                raise DadnetError(
                    f"experiment {experiment.digest} is already in {path.parent} "
                    f"with other content (method {stored.method!r})"
                )
            return

    def missing(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the names of the planned folds without a valid record, in plan order.

        A damaged record is moved to ``quarantine/`` with a `LedgerWarning`.
        """
        return tuple(f.name for f in experiment.folds if self._read(experiment, f.name) is None)

    def put(self, experiment: Experiment, record: FoldRecord) -> bool:
        """Store a finished fold, once and atomically.

        Returns:
            True if this call stored it; False if a valid record was there, which is left alone.

        Raises:
            DadnetError: if the record does not belong to the experiment.
        """
        check_record(experiment, record)
        path = self.fold_path(experiment, record.fold)
        text = record.to_json() + "\n"
        while not write_once(path, text):
            if self._read(experiment, record.fold) is not None:
                return False
        return True

    def records(self, experiment: Experiment) -> tuple[FoldRecord, ...]:
        """Return the valid records in plan order; damaged ones are moved aside as in `missing`."""
        found = (self._read(experiment, fold.name) for fold in experiment.folds)
        return tuple(record for record in found if record is not None)

    def record(self, experiment: Experiment, fold: str) -> FoldRecord | None:
        """Return one fold's valid record, or None; a damaged one is moved aside."""
        return self._read(experiment, fold)

    def read_all(self, experiment: Experiment) -> Iterator[tuple[PlannedFold, bytes | None]]:
        """Yield each planned fold with the bytes of its file, not looked at; None if absent."""
        folder = f"{self.folder(experiment)}/folds"
        for fold in experiment.folds:
            try:  # many files: a Path for each would take longer than reading it
                with open(f"{folder}/{file_name(fold.name)}.json", "rb", buffering=0) as file:  # noqa: PTH123
                    yield fold, file.read()
            except FileNotFoundError:
                yield fold, None

    def find(self, digest: str | None) -> Experiment:
        """Return the experiment whose digest begins so; without one, the only one there is.

        Raises:
            DadnetError: if there is none, or several; it lists them.
        """
        experiments = self.experiments()
        found = [e for e in experiments if e.digest.startswith(digest or "")]
        if len(found) != 1:
            names = [f"{e.digest} ({e.method}, {e.dataset})" for e in (found or experiments)[:8]]
            raise DadnetError(
                f"expected the digest of one experiment, got: {digest!r}; "
                f"there: {', '.join(names) or 'none'}"
            )
        return found[0]

    def experiments(self) -> tuple[Experiment, ...]:
        """Return every experiment, sorted by dataset, method, seed and digest."""
        read = (self._read_experiment(folder / "experiment.json") for folder in self._folders())
        found = [experiment for experiment in read if experiment is not None]
        return tuple(
            sorted(
                found,
                key=lambda e: (e.dataset, e.method, -1 if e.seed is None else e.seed, e.digest),
            )
        )

    def orphans(self, known: Collection[Experiment] | None = None) -> tuple[Path, ...]:
        """Return the folders that hold records but no readable experiment.json, sorted.

        Args:
            known: the experiments, if they have just been read.
        """
        found = self.experiments() if known is None else known
        whole = {str(self.folder(experiment)) for experiment in found}
        return tuple(
            folder
            for folder in self._folders()
            if str(folder) not in whole and any((folder / "folds").glob("*.json"))
        )

    def folder(self, experiment: Experiment) -> Path:
        """Return the experiment's folder, ``<root>/<dataset>/<digest>``."""
        return self.root / file_name(experiment.dataset) / experiment.digest

    def fold_path(self, experiment: Experiment, fold: str) -> Path:
        """Return where the fold's record lies or will lie."""
        return self.folder(experiment) / "folds" / f"{file_name(fold)}.json"

    def checkpoint_path(self, experiment: Experiment, fold: str) -> Path:
        """Return where the training side may keep the fold's checkpoint."""
        return self.folder(experiment) / "checkpoints" / f"{file_name(fold)}.pt"

    def weights_path(self, experiment: Experiment, fold: str) -> Path:
        """Return where the training side may keep the fold's weights."""
        return self.folder(experiment) / "weights" / f"{file_name(fold)}.safetensors"

    def events_path(self, experiment: Experiment) -> Path:
        """Return where the training side may keep the experiment's event log."""
        return self.folder(experiment) / "events.jsonl"

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            # No name gives a hidden folder (see `file_name`): those belong to others.
            datasets = sorted(p for p in self.root.iterdir() if not p.name.startswith("."))
            for dataset in (path for path in datasets if path.is_dir()):
                yield from sorted(path for path in dataset.iterdir() if path.is_dir())

    def _read(self, experiment: Experiment, fold: str) -> FoldRecord | None:
        path = self.fold_path(experiment, fold)
        data = bytes_of(path)
        if data is None:
            return None
        try:
            record = FoldRecord.from_json(data)
            if record.fold != fold:
                raise DadnetError(f"expected fold {fold!r}, got: {record.fold!r}")
            check_record(experiment, record)
        except DadnetError as error:
            quarantine(path, self.folder(experiment), data, str(error))
            return None
        return record

    def _read_experiment(self, path: Path) -> Experiment | None:
        data = bytes_of(path)
        if data is None:
            return None
        try:
            experiment = read_experiment(data) or Experiment.from_json(data)
            if self.folder(experiment) != path.parent:
                raise DadnetError(f"it describes {experiment.dataset}/{experiment.digest}")
        except DadnetError as error:
            quarantine(path, path.parent, data, str(error))
            return None
        return experiment


def check_record(experiment: Experiment, record: FoldRecord) -> None:
    """Check that a record is one of the experiment's planned folds, whole and with its classes.

    Raises:
        DadnetError: naming the first thing that does not fit.
    """
    planned = {fold.name: fold for fold in experiment.folds}.get(record.fold)
    if planned is None:
        raise DadnetError(f"fold {record.fold!r} is not planned in experiment {experiment.digest}")
    pairs = {
        "experiment": (experiment.digest, record.experiment),
        "selection": (experiment.selection, record.selection),
        "teacher": (experiment.teacher_digest, record.teacher_digest),
        "test subjects": (sorted(planned.test_subjects), sorted(record.test_subjects)),
        "number of clips": (planned.num_test_clips, len(record.predictions)),
    }
    for name, (expected, given) in pairs.items():
        if expected != given:
            raise DadnetError(f"{name} of fold {record.fold}: expected {expected}, got: {given}")
    _check_classes(experiment, record)


def _check_classes(experiment: Experiment, record: FoldRecord) -> None:
    known = set(experiment.classes)
    for row in record.predictions:
        if not {row.label, row.prediction} <= known:
            raise DadnetError(
                f"classes of {row.clip_id}: expected some of {', '.join(experiment.classes)}, "
                f"got: {row.label} and {row.prediction}"
            )
        if row.probabilities is not None and len(row.probabilities) != len(known):
            raise DadnetError(
                f"probabilities of {row.clip_id}: expected {len(known)}, "
                f"got: {len(row.probabilities)}"
            )


@lru_cache(maxsize=10_000)
def file_name(name: str) -> str:
    """Return a safe file name for any name; different names give different file names.

    >>> file_name("casme2/sub01")
    'casme2%2Fsub01'
    >>> file_name("..")
    '%2E.'
    """
    slug = quote(name, safe="")
    if slug.startswith("."):  # neither a hidden file nor a way up
        slug = f"%2E{slug[1:]}"
    if len(slug) > _LONGEST_NAME:
        slug = f"{slug[:100]}~{hashlib.sha256(name.encode()).hexdigest()}"
    return slug


def write_once(path: Path, text: str) -> bool:
    """Write a file that appears whole or not at all, and never replaces another.

    Returns:
        False if the path already existed.

    Raises:
        OSError: if the folder cannot be written or its file system has no hard links.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this refuses an existing name
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bytes_of(path: Path) -> bytes | None:
    """Return the content of a file, or None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def quarantine(path: Path, folder: Path, damaged: bytes, reason: str) -> None:
    """Move a damaged file to ``quarantine/`` below a folder, with a `LedgerWarning`."""
    target = folder / "quarantine" / f"{hashlib.sha256(damaged).hexdigest()[:12]}-{path.name}"
    target.parent.mkdir(exist_ok=True)
    try:
        path.rename(target)
    except FileNotFoundError:  # another process was quicker, and has warned
        return
    moved = target.read_bytes()
    if moved != damaged:  # another process had put a new record there in between: give it back
        write_once(path, moved.decode())
        target.write_bytes(damaged)
        return
    warnings.warn(
        f"damaged {path} was moved to {target.parent}: {reason}", LedgerWarning, stacklevel=4
    )
