"""Optuna's storage, the lock of a study, and its trials as the ledger keeps them."""

import fcntl
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dadnet.errors import DadnetError
from results.studies import TrialRow


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's storage behind a URL.

    Raises:
        DadnetError: if it cannot be opened; one line, without the password.
    """
    options: dict[str, Any] = {}
    try:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            options = {"connect_args": {"timeout": 60}}
        return optuna.storages.RDBStorage(
            url, engine_kwargs=options, skip_compatibility_check=False
        )
    except Exception as error:  # of the driver, of SQLAlchemy, of alembic
        line = str(error).strip().splitlines()[0]
        raise DadnetError(
            f"study storage: {url.split('@')[-1]} cannot be opened: {line}"
        ) from error


def lock(path: Path, *, wait: bool) -> int | None:
    """Hold a file as long as this process lives; None if another one holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def unlock(descriptor: int | None) -> None:
    """Let go of a file of `lock`."""
    if descriptor is not None:
        os.close(descriptor)


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
