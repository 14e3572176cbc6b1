"""Optuna's storage, the lock of a study, and its trials as the ledger stores them."""

import fcntl
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url

from dadnet.base.errors import DadnetError, first_line
from dadnet.base.location import Location, is_remote
from orchestration.folds.claims import Heartbeat
from results.ledger.studies import TrialRow

RETRY_S = 0.5


def storage_url(ledger: Location, requested: str | None) -> str:
    """URL of Optuna's storage: the requested one, or SQLite in the ledger's folder.

    Raises:
        DadnetError: if the ledger is on object storage, which cannot hold a database.
    """
    if requested is not None:
        return requested
    if is_remote(ledger):
        raise DadnetError(
            f"study_storage: a ledger on object storage ({ledger}) holds no database; expected "
            "--study-storage with a durable one, such as sqlite:////home/you/studies.db or "
            "postgresql://host/studies"
        )
    path = str((ledger / "studies.db").absolute())
    return URL.create("sqlite", database=path).render_as_string()  # a path may have a `?`


def open_storage(url: str | BaseStorage) -> BaseStorage:
    """Open Optuna's storage by its URL; a storage is returned as it is.

    Raises:
        DadnetError: if it cannot be opened; one line, without the password.
    """
    if isinstance(url, BaseStorage):
        return url
    options: dict[str, Any] = {}
    try:
        if url.startswith("sqlite:///"):
            Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
            options = {"connect_args": {"timeout": 60}}
        return RDBStorage(url, engine_kwargs=options, skip_compatibility_check=False)
    except Exception as error:  # the driver's, SQLAlchemy's or alembic's
        raise DadnetError(
            f"study storage: {url.split('@')[-1]} cannot be opened: {first_line(error)}"
        ) from error


def lock(folder: Location, name: str, *, wait: bool) -> ExitStack | None:
    """Lock a name until the returned stack is closed; None if another process has locked it.

    In a folder the lock is a locked file. On object storage it is a claim, as on folds: it ends
    with this process, or some time later if its machine is lost. A closed claim stays in the
    storage, and the next one gets the next number.

    Args:
        folder: where the locks are; made if it is absent.
        name: of the lock.
        wait: until it is free.
    """
    held = ExitStack()
    if is_remote(folder):
        claims = held.enter_context(Heartbeat(folder / "claims"))
        while not claims.take(name):
            if not wait:
                held.close()
                return None
            time.sleep(RETRY_S)
        return held
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    held.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        held.close()
        return None
    return held


def trial_row(trial: FrozenTrial) -> TrialRow:
    """A finished trial as the ledger stores it."""
    attrs = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    return TrialRow(
        number=trial.number,
        state=trial.state.name,
        params=trial.params,
        distributions={
            name: optuna.distributions.distribution_to_json(distribution)
            for name, distribution in trial.distributions.items()
        },
        values=tuple(trial.values) if complete else None,
        val_uf1=attrs.get("val_uf1"),
        num_folds=attrs.get("num_folds", 0),
        reports=tuple(sorted(trial.intermediate_values.items())),
        experiment=attrs.get("experiment", ""),
        seconds=attrs.get("seconds", 0.0),
        parameters=attrs.get("parameters", 0),
        why=attrs.get("why", ""),
    )
