"""Making folds: train them, score the test clips of each once, write its record."""

from __future__ import annotations

import os
import platform
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import torch

from dadnet.base.location import Location
from dadnet.config.experiment import FITTED_BASELINES
from dadnet.folds.protocols import Fold
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.loop import FoldTask, OnFoldEpoch, train_folds
from dadnet.training.stack_size import StackChoice, choose_stack_size, is_out_of_memory
from orchestration.folds.claims import Claims
from orchestration.folds.kept_weights import keep_weights
from orchestration.folds.outcome import load_trained, make_val_side, save_trained, visible
from orchestration.folds.plan import Plan
from orchestration.folds.record import fold_features, fold_record
from results.ledger.features import put_features
from results.ledger.ledger import Ledger
from results.ledger.val_side import ValLedger

_PACKAGES = ("dadnet-loso", "numpy", "opencv-contrib-python", "ray", "torch")


@dataclass(frozen=True)
class WorkOptions:
    """How to work; none of it changes a number.

    Attributes:
        ledger: root of the ledger.
        checkpoint_every: epochs between two states of a fold.
        device: torch's name of the device.
        keep_weights: best: every fold's chosen weights stay beside its record; none: they go.
        keep_features: test: the student's pooled features of a fold's test clips stay beside its
            record, for the map of clips on the run's page.
        test_side: score the test clips and write the fold's record. A search does without: it
            keeps the weights, and the test clips are veiled.
        claims: of this run on the folds, where others may be at the same ledger.
    """

    ledger: Location
    checkpoint_every: int = 5
    device: str = "cpu"
    keep_weights: Literal["best", "none"] = "none"
    keep_features: Literal["test", "none"] = "test"
    test_side: bool = True
    claims: Claims | None = None


def local_device() -> str:
    """The device of work in this process: a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def stack_size(plan: Plan, names: Sequence[str], options: WorkOptions, at_most: int) -> StackChoice:
    """Measure how many of these folds to train at once on this device.

    Args:
        plan: the experiment's plan.
        names: folds to try with.
        options: the device.
        at_most: how many of them one worker makes: the largest stack to try.
    """
    torch.set_num_threads(1)
    device = torch.device(options.device)
    views = [FoldView.of(plan.dataset, plan.fold(name), device) for name in names[:at_most]]
    choice = choose_stack_size(
        plan.config, views, teacher=plan.teacher, device=device, at_most=at_most
    )
    return choice.dealt(min(at_most, len(names)))


def make_folds_of_plan(
    plan: Plan,
    names: Sequence[str],
    options: WorkOptions,
    *,
    places: int | None = None,
    more: Callable[[], str | None] = lambda: None,
    on_record: Callable[[str], None] = lambda _: None,
    on_elsewhere: Callable[[str], None] = lambda _: None,
    on_epoch: OnFoldEpoch | None = None,
    host: Callable[[str], Mapping[str, Any]] = lambda _: {},
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train folds, several at once, and write the record of each as soon as it is there.

    A fold that a search has trained before, and whose weights it kept, is only scored. A stack
    that runs out of memory is halved, with a warning, and goes on.

    Args:
        plan: the experiment's plan.
        names: folds to make.
        options: where and how.
        places: folds trained at once; all of `names` by default.
        more: gives the name of one more fold for a place that is free, or None.
        on_record: called with a fold's name when its record is written.
        on_elsewhere: called with the name of a fold that another run has claimed.
        on_epoch: as in :func:`dadnet.training.loop.train_folds`.
        host: what the caller knows of a fold's circumstances, such as worker and tries.
        stop: as in :func:`dadnet.training.loop.train_folds`.

    Raises:
        StoppedError: because of `stop`.
    """
    waiting, begun = deque(names), dict[str, float]()
    claims = options.claims
    places = places or len(names)

    def next_name() -> str | None:
        while (name := waiting.popleft() if waiting else more()) is not None:
            if claims is not None and not claims.take(name):
                on_elsewhere(name)
                continue
            # Its worker may have died between writing the record and telling of it.
            if not _is_made(plan, name, options) and not (
                options.test_side and _score_trained(plan, name, options, host(name))
            ):
                return name
            made(name)
        return None

    def made(name: str) -> None:
        if claims is not None:
            claims.release(name)
        on_record(name)

    while True:
        try:
            for outcome, circumstances in _train(
                plan, next_name, places, begun, options, on_epoch, stop
            ):
                name = outcome.name
                _keep(plan, outcome, options, {**host(name), **circumstances, "stack": places})
                del begun[name]
                made(name)
            return
        except RuntimeError as error:  # a StoppedError too, which is not about memory
            if places == 1 or not is_out_of_memory(error):
                raise
        waiting.extendleft(reversed(begun))  # they go on from their checkpoints
        begun.clear()
        warnings.warn(
            f"a stack of {places} folds ran out of memory; going on with {places - places // 2} "
            "at once",
            stacklevel=2,
        )
        places -= places // 2


def _train(
    plan: Plan,
    next_name: Callable[[], str | None],
    places: int,
    begun: dict[str, float],
    options: WorkOptions,
    on_epoch: OnFoldEpoch | None,
    stop: Callable[[], bool],
) -> Iterator[tuple[TrainedFold, dict[str, Any]]]:
    """Outcomes with their circumstances; `begun` holds the folds in training and since when."""
    # One thread per fold: results are then equal for any number of workers, and on two cores two
    # folds side by side are 1.4 to 1.8 times as fast as two threads on one (benchmarks/threads.py).
    torch.set_num_threads(1)
    device = torch.device(options.device)

    def next_task() -> FoldTask | None:
        if (name := next_name()) is None:
            return None
        begun[name] = time.time()
        fold = plan.fold(name)
        seen = visible(plan, fold, test_side=options.test_side)
        view = FoldView.of(seen, fold, device)
        return FoldTask(plan.config, view, _checkpoint(plan, name, options))

    for outcome in train_folds(
        next_task,
        places,
        teacher=plan.teacher,
        device=device,
        checkpoint_every=options.checkpoint_every,
        on_epoch=on_epoch,
        stop=stop,
    ):
        since = begun[outcome.name]
        started = datetime.fromtimestamp(since, timezone.utc)
        yield (
            outcome,
            {
                "started_at": started.isoformat(timespec="seconds"),
                "seconds": round(time.time() - since, 3),
                "device": options.device,
                "hostname": socket.gethostname(),
                "pid": os.getpid(),
                "versions": _versions(),
            },
        )


def _checkpoint(plan: Plan, name: str, options: WorkOptions) -> CheckpointFile:
    path = Ledger(options.ledger).checkpoint_path(plan.experiment, name)
    return CheckpointFile(path, plan.experiment.digest, name)


def _keep(
    plan: Plan, outcome: TrainedFold, options: WorkOptions, circumstances: Mapping[str, Any]
) -> None:
    """Keep a fold's val side; score its test clips and write its record, unless in a search."""
    fold, device = plan.fold(outcome.name), torch.device(options.device)
    vals = ValLedger(options.ledger)
    if not options.test_side:
        save_trained(plan, outcome, vals)
    if plan.config.data.selection == "inner":
        seen = replace(plan, dataset=visible(plan, fold, test_side=options.test_side))
        vals.put(plan.experiment, make_val_side(seen, fold, outcome, device, circumstances))
    if options.test_side:
        _put_record(plan, fold, outcome, options, circumstances)
    _checkpoint(plan, outcome.name, options).remove()


def _put_record(
    plan: Plan,
    fold: Fold,
    outcome: TrainedFold,
    options: WorkOptions,
    circumstances: Mapping[str, Any],
) -> None:
    device, ledger, kept = torch.device(options.device), Ledger(options.ledger), {}
    if options.keep_weights == "best":  # before the record, which says that the fold is done
        kept["weights_digest"] = keep_weights(plan, fold, outcome, ledger)
    # What is fitted in one go has no features of its own.
    if options.keep_features == "test" and plan.config.model.model_type not in FITTED_BASELINES:
        features = fold_features(plan, fold, outcome, device)
        if features is not None:
            put_features(ledger, plan.experiment, features)
    record = fold_record(plan, fold, outcome, device, {**circumstances, **kept})
    if not ledger.put(plan.experiment, record):
        warnings.warn(
            f"fold {fold.name} was finished by another worker meanwhile; its record stays",
            stacklevel=2,
        )


def _is_made(plan: Plan, name: str, options: WorkOptions) -> bool:
    if options.test_side:
        return Ledger(options.ledger).record(plan.experiment, name) is not None
    return ValLedger(options.ledger).get(plan.experiment, name) is not None


def _score_trained(plan: Plan, name: str, options: WorkOptions, host: Mapping[str, Any]) -> bool:
    """Score a fold that a search has trained, from its kept weights; whether there was one."""
    device, vals = torch.device(options.device), ValLedger(options.ledger)
    trained, side = load_trained(plan, name, vals, device), vals.get(plan.experiment, name)
    if trained is None or side is None:
        return False
    _put_record(plan, plan.fold(name), trained, options, {**side.host, **host})
    return True


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
