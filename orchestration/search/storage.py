"""Optuna's storage, the lock of a study, and its trials as the ledger keeps them."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.base.remote import RemotePath
from orchestration.folds.claims import Presence
from results.ledger.studies import TrialRow

ASK_AGAIN_S = 0.5


def storage_url(ledger: Location, asked: str | None) -> str:
    """Where Optuna keeps the trials: what is asked for, or SQLite in the ledger's folder.

    Raises:
        DadnetError: if the ledger is on object storage, where no database can lie.
    """
    if asked is not None:
        return asked
    if isinstance(ledger, RemotePath):
        raise DadnetError(
            f"study_storage: a ledger on object storage ({ledger}) holds no database; expected "
            "--study-storage with one that lasts, such as sqlite:////home/you/studies.db or "
            "postgresql://host/studies"
        )
    return f"sqlite:///{(ledger / 'studies.db').absolute()}"


def open_storage(url: str | BaseStorage) -> BaseStorage:
    """Optuna's storage behind a URL; a storage is one already.

    Raises:
        DadnetError: if it cannot be opened; one line, without the password.
    """
    if isinstance(url, BaseStorage):
        return url
    options: dict[str, Any] = {}
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            options = {"connect_args": {"timeout": 60}}
        return RDBStorage(url, engine_kwargs=options, skip_compatibility_check=False)
    except Exception as error:  # of the driver, of SQLAlchemy, of alembic
        line = str(error).strip().splitlines()[0]
        raise DadnetError(
            f"study storage: {url.split('@')[-1]} cannot be opened: {line}"
        ) from error


def close_storage(storage: BaseStorage) -> None:
    """Let its database rest."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


class Lock(Protocol):
    """What one process holds, until it lets go or ends."""

    def release(self) -> None:
        """Let go."""


def lock(folder: Location, name: str, *, wait: bool) -> Lock | None:
    """Hold a name; None if another process holds it.

    In a folder by a locked file. On object storage by a claim, as on folds: it ends with its
    owner, of another machine some time after.

    Args:
        folder: where the locks lie; made if it is absent.
        name: of the lock.
        wait: until it is free.
    """
    if isinstance(folder, RemotePath):
        return ClaimLock.take(folder / "claims", name, wait)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return FileLock(descriptor)


class FileLock:
    """A locked file.

    Args:
        descriptor: of the open file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        os.close(self._descriptor)


class ClaimLock:
    """A claim that is held.

    Args:
        presence: entered.
    """

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    @classmethod
    def take(cls, folder: Location, name: str, wait: bool) -> Lock | None:
        """See `lock`."""
        presence = Presence(folder)
        claims = presence.__enter__()
        while not claims.take(name):
            if not wait:
                presence.__exit__(None, None, None)
                return None
            time.sleep(ASK_AGAIN_S)
        return cls(presence)

    def release(self) -> None:
        """Let go; the claim itself stays, and the next one is numbered after it."""
        self._presence.__exit__(None, None, None)


def trial_row(trial: FrozenTrial) -> TrialRow:
    """A finished trial as the ledger keeps it."""
    attrs = trial.user_attrs
    finished = trial.state == TrialState.COMPLETE
    return TrialRow(
        number=trial.number,
        state=trial.state.name,
        params=trial.params,
        distributions={
            name: optuna.distributions.distribution_to_json(distribution)
            for name, distribution in trial.distributions.items()
        },
        values=tuple(trial.values) if finished else None,
        val_uf1=attrs.get("val_uf1"),
        num_folds=attrs.get("num_folds", 0),
        reports=tuple(sorted(trial.intermediate_values.items())),
        experiment=attrs.get("experiment", ""),
        seconds=attrs.get("seconds", 0.0),
        parameters=attrs.get("parameters", 0),
        why=attrs.get("why", ""),
    )
