"""TensorBoard and MLflow, fed from the event log; both are optional packages.

Each `finished` event makes its fold's curves and counts appear there; when the last fold is in,
the pooled figures do. The writers only read the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dadnet.base.errors import DadnetError
from results.ledger.events import read_events
from results.ledger.ledger import Ledger, file_name
from results.ledger.records import Experiment, FoldRecord
from results.statistics.summary import Summary, count_records, summarise


class Tracker(Protocol):
    """A service that shows the progress of an experiment."""

    def fold(self, record: FoldRecord) -> None:
        """Show a finished fold."""

    def figures(self, summary: Summary) -> None:
        """Show the pooled figures of the complete experiment."""


class TensorBoard:
    """A run per fold with its curves, and one for the experiment's figures.

    Args:
        folder: TensorBoard's log folder.
        experiment: what is shown.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._module = _imported("tensorboardX")
        self._folder = folder / file_name(experiment.dataset) / experiment.digest
        self._experiment = experiment

    def fold(self, record: FoldRecord) -> None:
        """Write the fold's curves by epoch."""
        folder = self._folder / file_name(record.fold)
        with self._module.SummaryWriter(str(folder)) as writer:
            for curve, values in sorted(record.curves.items()):
                for epoch, value in enumerate(values, start=1):
                    if value is not None:
                        writer.add_scalar(curve, value, epoch)

    def figures(self, summary: Summary) -> None:
        """Write UF1, UAR and accuracy, and the config as text."""
        with self._module.SummaryWriter(str(self._folder / "figures")) as writer:
            for name, value in _figures(summary).items():
                writer.add_scalar(name, value, 0)
            writer.add_text("config", json.dumps(dict(self._experiment.config), sort_keys=True))


class MLflow:
    """An MLflow run per experiment, with the config as parameters and each fold as a step.

    Args:
        uri: of the tracking server or folder.
        experiment: what is shown.
    """

    def __init__(self, uri: str, experiment: Experiment) -> None:
        mlflow = _imported("mlflow")
        try:
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
            stored = self._client.get_experiment_by_name(experiment.dataset)
        except mlflow.MlflowException as error:
            raise DadnetError(f"MLflow cannot use {uri}: {error}") from error
        experiment_id = (
            stored.experiment_id if stored else self._client.create_experiment(experiment.dataset)
        )
        tags = {"digest": experiment.digest, "selection": experiment.selection}
        run = self._client.create_run(experiment_id, run_name=experiment.method, tags=tags)
        self._run: str = run.info.run_id
        self._numbers = {fold.name: number for number, fold in enumerate(experiment.folds)}
        for name, value in experiment.settings:
            self._client.log_param(self._run, name, value)

    def fold(self, record: FoldRecord) -> None:
        """Write the fold's right clips, its chosen epoch and the last value of each curve."""
        step = self._numbers[record.fold]
        rows = record.predictions
        values = {
            "test_right": sum(row.label == row.prediction for row in rows),
            "test_clips": len(rows),
            "chosen_epoch": record.chosen_epoch,
            **{name: curve[-1] for name, curve in record.curves.items() if curve},
        }
        for name, value in values.items():
            if value is not None:
                self._client.log_metric(self._run, f"fold_{name}", value, step=step)

    def figures(self, summary: Summary) -> None:
        """Write the pooled figures and end the run."""
        for name, value in _figures(summary).items():
            self._client.log_metric(self._run, name, value)
        self._client.set_terminated(self._run)


def finished_folds(ledger: Ledger, experiment: Experiment, seen: set[str]) -> Iterator[FoldRecord]:
    """Yield the records of folds whose `finished` event is new, or that have no event at all.

    Args:
        ledger: where the event log and the records are.
        experiment: whose folds.
        seen: folds that were yielded before; those yielded now are added.
    """
    names = [fold.name for fold in experiment.folds]
    finished = (e["fold"] for e in read_events(ledger, experiment) if e["event"] == "finished")
    # Folds of an earlier run whose log is gone are in the ledger all the same.
    for name in [*dict.fromkeys(name for name in finished if name in set(names)), *names]:
        if name not in seen and (record := ledger.record(experiment, name)) is not None:
            seen.add(name)
            yield record


def feed(ledger: Ledger, experiment: Experiment, trackers: list[Tracker], seen: set[str]) -> bool:
    """Pass new folds on, and the figures with the last one; whether the experiment is complete."""
    before = len(seen)
    for record in finished_folds(ledger, experiment, seen):
        for tracker in trackers:
            tracker.fold(record)
    complete = len(seen) == len(experiment.folds)
    if complete and before < len(seen):
        summary = summarise(count_records(ledger.records(experiment), experiment.classes))
        for tracker in trackers:
            tracker.figures(summary)
    return complete


def _figures(summary: Summary) -> dict[str, float]:
    values = {name: getattr(summary, name).value for name in ("uf1", "uar", "accuracy")}
    values.update({"mcc": summary.mcc, "log_loss": summary.log_loss, "ece": summary.ece})
    return {name: value for name, value in values.items() if value is not None}


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise DadnetError(
            f"{name} is not installed; pip install 'dadnet-loso[track]' brings it"
        ) from error
