"""Making folds: train a stack, score its test clips once, write one record per fold."""

import os
import platform
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dadnet.checkpoint import CheckpointFile
from dadnet.member import FoldView, TrainedFold, score
from dadnet.protocols import Fold
from dadnet.stack_size import StackChoice, choose_stack_size, is_out_of_memory
from dadnet.training import OnEpoch, train_stack
from orchestration.outcome import load_trained, make_val_side, save_trained, visible
from orchestration.plan import Plan
from results.ledger import Ledger
from results.records import FoldRecord, Prediction
from results.val_side import ValLedger

_PACKAGES = ("dadnet-loso", "numpy", "opencv-contrib-python", "ray", "torch")


@dataclass(frozen=True)
class WorkOptions:
    """How to work; none of it changes a number.

    Attributes:
        ledger: root of the ledger.
        checkpoint_every: epochs between two states of a fold.
        device: torch's name of the device.
        test_side: score the test clips and write the fold's record. A search does without: it
            keeps the weights, and the test clips are veiled.
    """

    ledger: Path
    checkpoint_every: int = 5
    device: str = "cpu"
    test_side: bool = True


def stack_size(plan: Plan, names: Sequence[str], options: WorkOptions, at_most: int) -> StackChoice:
    """Measure how many of these folds to train at once on this device.

    Args:
        plan: the experiment's plan.
        names: folds to try with.
        options: the device.
        at_most: largest stack to try.
    """
    torch.set_num_threads(1)
    device = torch.device(options.device)
    views = [FoldView.of(plan.dataset, plan.fold(name), device) for name in names[:at_most]]
    return choose_stack_size(
        plan.config, views, teacher=plan.teacher, device=device, at_most=at_most
    )


def make_folds_of_plan(
    plan: Plan,
    names: Sequence[str],
    options: WorkOptions,
    *,
    on_epoch: OnEpoch | None = None,
    host: Mapping[str, Any] | None = None,
) -> None:
    """Train the named folds as one stack and write their records.

    A fold that a search has trained before, and whose weights it kept, is only scored. A stack
    that runs out of memory is halved, with a warning, and goes on.

    Args:
        plan: the experiment's plan.
        names: folds to make.
        options: where and how.
        on_epoch: as in :func:`dadnet.training.train_stack`.
        host: what the caller knows of the circumstances, such as worker and tries.
    """
    if options.test_side:
        names = [name for name in names if not _score_trained(plan, name, options, host)]
    if not names:
        return
    try:
        _make_stack(plan, names, options, on_epoch, host)
        return
    except RuntimeError as error:
        if len(names) == 1 or not is_out_of_memory(error):
            raise
    half = len(names) // 2
    warnings.warn(
        f"a stack of {len(names)} folds ran out of memory; going on with stacks of "
        f"{len(names) - half} and {half}",
        stacklevel=2,
    )
    for part in (names[: len(names) - half], names[len(names) - half :]):
        make_folds_of_plan(plan, part, options, on_epoch=on_epoch, host=host)


def _make_stack(
    plan: Plan,
    names: Sequence[str],
    options: WorkOptions,
    on_epoch: OnEpoch | None,
    host: Mapping[str, Any] | None,
) -> None:
    # One thread per fold: results are then equal for any number of workers, and on two cores two
    # folds side by side are faster than two threads on one.
    torch.set_num_threads(1)
    started, clock = datetime.now(timezone.utc), time.monotonic()
    device, ledger = torch.device(options.device), Ledger(options.ledger)
    vals = ValLedger(options.ledger)
    folds = [plan.fold(name) for name in names]
    files = [
        CheckpointFile(ledger.checkpoint_path(plan.experiment, name), plan.experiment.digest, name)
        for name in names
    ]
    trained = train_stack(
        plan.config,
        [
            FoldView.of(visible(plan, fold, test_side=options.test_side), fold, device)
            for fold in folds
        ],
        teacher=plan.teacher,
        device=device,
        checkpoints=files,
        checkpoint_every=options.checkpoint_every,
        on_epoch=on_epoch,
    )
    for fold, outcome, file in zip(folds, trained, files, strict=True):
        circumstances = {
            **(host or {}),
            "started_at": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "stack": len(names),
            "device": options.device,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "versions": _versions(),
        }
        if not options.test_side:
            save_trained(plan, outcome, vals)
        if plan.config.data.selection == "inner":
            seen = replace(plan, dataset=visible(plan, fold, test_side=options.test_side))
            vals.put(plan.experiment, make_val_side(seen, fold, outcome, device, circumstances))
        if options.test_side:
            ledger.put(plan.experiment, fold_record(plan, fold, outcome, device, circumstances))
        file.remove()


def _score_trained(
    plan: Plan, name: str, options: WorkOptions, host: Mapping[str, Any] | None
) -> bool:
    device, vals = torch.device(options.device), ValLedger(options.ledger)
    trained, side = load_trained(plan, name, vals, device), vals.get(plan.experiment, name)
    if trained is None or side is None:
        return False
    record = fold_record(plan, plan.fold(name), trained, device, {**side.host, **(host or {})})
    Ledger(options.ledger).put(plan.experiment, record)
    return True


def fold_record(
    plan: Plan,
    fold: Fold,
    trained: TrainedFold,
    device: torch.device,
    host: Mapping[str, Any],
) -> FoldRecord:
    """Score a fold's test clips, once, with the chosen weights.

    Args:
        plan: the experiment's plan.
        fold: one of its folds.
        trained: the outcome of its training.
        device: where its network is.
        host: circumstances.
    """
    rows = plan.dataset.rows(fold.test)
    flows = plan.dataset.flows[rows].to(device)
    probabilities = score(trained.model, flows, trained.statistics)
    return FoldRecord(
        experiment=plan.experiment.digest,
        fold=fold.name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        test_subjects=fold.test,
        selection=plan.config.data.selection,
        chosen_epoch=trained.chosen_epoch,
        epochs_run=trained.epochs_run,
        curves={
            name: tuple(v if np.isfinite(v) else None for v in values)
            for name, values in trained.curves.items()
        },
        predictions=tuple(
            Prediction(
                clip_id=str(clip.clip_id),
                subject=str(clip.subject),
                part=str(clip.part),
                label=str(clip.label),
                prediction=plan.dataset.classes[int(p.argmax())],
                probabilities=tuple(float(x) for x in p),
            )
            for clip, p in zip(
                plan.dataset.clips.iloc[rows.numpy()].itertuples(), probabilities, strict=True
            )
        ),
        teacher_digest=plan.experiment.teacher_digest,
        audit=plan.audit,
        host=host,
    )


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
