"""Making folds: take them from the queue, train them, write what is kept of each."""

from __future__ import annotations

import os
import platform
import socket
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from dadnet.base.digests import code_digest
from dadnet.base.errors import DadnetError, first_line
from dadnet.base.location import Location
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.kinds import how_stacked
from dadnet.training.loop import DivergedError, FoldTask, StoppedError, train_folds
from dadnet.training.stack.graph import capture_for
from dadnet.training.stack_size import choose_stack_size, is_out_of_memory
from orchestration.folds.claims import ClaimedQueue
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import Plan
from orchestration.folds.queue import Claim
from orchestration.folds.queue_state import is_of_the_process
from orchestration.folds.record import dataset_to_train, is_written, score_trained, write_fold
from orchestration.folds.worker_queue import FoldQueue, LeaseLostError
from results.ledger.ledger import Ledger
from results.ledger.quick import code_of
from results.ledger.records import Divergence, Experiment, FoldRecord

# OpenCV has two names: servers without a screen mostly have the second.
_PACKAGES = (
    "dadnet-loso", "numpy", "opencv-contrib-python", "opencv-contrib-python-headless", "ray",
    "torch",
)  # fmt: skip


def with_measured_stack(
    plan: Plan,
    names: Sequence[str],
    options: WorkOptions,
    at_most: int,
    report: Callable[[str], None],
) -> WorkOptions:
    """Return the options with a number as stack; `auto` is measured on this device, and reported.

    The largest stack is `at_most`: as many of the named folds as one worker makes.
    """
    size = options.stack
    kept = None if options.device == "cpu" else stack_on_gpu(plan.experiment, options.ledger)
    if kept is not None and size != kept:
        again = f"the folds that are there were trained in stacks of {kept}"
        if size == "auto":
            size = kept
            report(f"stack of {kept}: {again}")
        else:
            report(f"warning: {again}, these in stacks of {size}; a GPU rounds differently then")
    if size == "auto":
        report("timing stack sizes")
        torch.set_num_threads(1)
        device = torch.device(options.device)
        views = [FoldView.of(plan.dataset, plan.fold(name), device) for name in names[:at_most]]
        choice = choose_stack_size(
            plan.config,
            views,
            teacher=plan.teacher,
            device=device,
            at_most=at_most,
            graph=options.graph,
        ).dealt(min(at_most, len(names)))
        report(str(choice))
        size = choice.size
    classes = len(plan.dataset.classes)
    if size > 1 and (line := how_stacked(plan.config, classes, options.device)):
        report(line)
    return replace(options, stack=size)


def stack_on_gpu(experiment: Experiment, ledger: Location) -> int | None:
    """The stack in which most finished folds of an experiment were trained on a GPU, if any were.

    Numbers of a GPU depend on the stack by rounding, so one experiment has one.
    """
    hosts = [record.host for record in Ledger(ledger).records(experiment)]
    stacks = Counter(h.get("stack") for h in hosts if h.get("device", "cpu") != "cpu")
    stacks.pop(None, None)
    return max(stacks, key=lambda size: (stacks[size], size), default=None)


def make_folds(
    plan: Plan, queue: FoldQueue, options: WorkOptions, stop: Callable[[], bool] = lambda: False
) -> None:
    """Make folds until the queue has none: train several at once, write each when it is trained.

    A fold that a search has trained before, and whose weights it kept, is only scored. A stack
    that runs out of memory is halved, with a warning, and goes on. Of a stack that breaks, each
    fold goes on alone, so that only the one that breaks is a failure. A fold that diverges, or has
    done so by the ledger, is reported to the queue, and the others go on.

    Args:
        plan: the experiment's plan.
        queue: of folds of this plan.
        options: where and how; its stack is a number.
        stop: asked after every epoch.

    Raises:
        StoppedError: because of `stop`; the states of the folds in training are written.
    """
    if options.claims is not None:
        queue = ClaimedQueue(queue, options.claims)
    _Maker(plan, queue, options, stop).make()


class _Maker:
    """The folds that one call of `make_folds` trains, and those that it has yet to try again."""

    def __init__(
        self, plan: Plan, queue: FoldQueue, options: WorkOptions, stop: Callable[[], bool]
    ) -> None:
        assert options.stack != "auto"
        self.plan, self.queue, self.options, self.stop = plan, queue, options, stop
        self.ledger, self.size, self.is_alone = Ledger(options.ledger), options.stack, False
        self.begun = dict[str, tuple[Claim, float]]()
        self.again = deque[Claim]()  # begun in a stack that broke; they go on from checkpoints

    def make(self) -> None:
        """Make folds until none is left."""
        while True:
            try:
                self.train()
                if not self.is_alone:
                    return
                self.is_alone = False
            except (StoppedError, LeaseLostError, DadnetError):
                raise
            except Exception as error:
                if not self.can_go_on(error):
                    self.queue.put_back("its stack broke", [claim.fold for claim in self.again])
                    raise

    def train(self) -> None:
        """Train folds, several at once or each alone; write those that are trained."""
        now = replace(self.options, stack=1 if self.is_alone else self.size)
        for trained in _train(
            self.plan, self.next_claim, self.queue, now, self.stop, self.on_divergence
        ):
            write_fold(self.plan, trained, self.options, self.circumstances(trained.name))
            _checkpoint(self.plan, trained.name, self.options).remove()
            del self.begun[trained.name]
            self.queue.finish(trained.name)

    def can_go_on(self, error: Exception) -> bool:
        """Whether the folds can be made in smaller stacks, or alone, after an error."""
        number = len(self.begun)
        if self.is_alone:
            return False
        if is_out_of_memory(error) and self.size > 1:
            before, self.size = self.size, self.size - self.size // 2
            what = f"a stack of {before} folds ran out of memory; going on with {self.size} at once"
        elif number > 1 and not is_of_the_process(error):
            self.is_alone = True
            what = f"a stack of {number} folds broke ({first_line(error)}); each goes on alone"
        else:
            return False
        self.again.extendleft(claim for claim, _ in reversed(self.begun.values()))
        self.begun.clear()
        warnings.warn(what, stacklevel=2)
        return True

    def next_claim(self) -> Claim | None:
        """The next fold to train, if there is one and the run is not to stop."""
        while (claim := self.take()) is not None:
            # Its worker may have died between writing the record and reporting it.
            if is_written(self.plan, claim.fold, self.options) or (
                self.options.test_side
                and score_trained(self.plan, claim.fold, self.options, claim.circumstances)
            ):
                self.queue.finish(claim.fold)
            elif known := self.ledger.divergence(self.plan.experiment, claim.fold):
                self.queue.diverge(claim.fold, known.why)
            else:
                self.begun[claim.fold] = claim, time.time()
                return claim
        return None

    def take(self) -> Claim | None:
        """A fold of a stack that broke, else one of the queue."""
        if self.again:
            return self.again.popleft()
        return None if self.is_alone or self.stop() else self.queue.take()

    def circumstances(self, fold: str) -> dict[str, Any]:
        """Where and how this fold was made."""
        size = 1 if self.is_alone else self.size
        return _circumstances(*self.begun[fold], self.options.device, size)

    def on_divergence(self, error: DivergedError) -> None:
        """Write that a fold diverged; report it to the queue."""
        fold, host = error.fold, self.circumstances(error.fold)
        known = Divergence(self.plan.experiment.digest, fold, error.epoch, error.why, host)
        self.ledger.put_divergence(self.plan.experiment, known)
        _checkpoint(self.plan, fold, self.options).remove()
        del self.begun[fold]
        self.queue.diverge(fold, error.why)


def _train(
    plan: Plan,
    next_claim: Callable[[], Claim | None],
    queue: FoldQueue,
    options: WorkOptions,
    stop: Callable[[], bool],
    on_divergence: Callable[[DivergedError], None],
) -> Iterator[TrainedFold]:
    # One thread per fold: results are then equal for any number of workers, and on two cores two
    # folds side by side are 1.4 to 1.8 times as fast as two threads on one (benchmarks/threads.py).
    torch.set_num_threads(1)
    device, clips = torch.device(options.device), dict[str, int]()

    def next_task() -> FoldTask | None:
        if (claim := next_claim()) is None:
            return None
        fold = plan.fold(claim.fold)
        view = FoldView.of(dataset_to_train(plan, fold, options), fold, device)
        clips[fold.name] = len(view.fit)
        return FoldTask(plan.config, view, _checkpoint(plan, fold.name, options))

    def on_epoch(fold: str, epoch: int, metrics: Mapping[str, float]) -> None:
        queue.inform(fold, epoch, {"clips": clips[fold], **metrics})

    assert options.stack != "auto"
    return train_folds(
        next_task,
        options.stack,
        teacher=plan.teacher,
        device=device,
        checkpoint_every=options.checkpoint_every,
        on_epoch=on_epoch,
        stop=stop,
        capture=capture_for(options.graph, device),
        on_divergence=on_divergence,
    )


def _checkpoint(plan: Plan, name: str, options: WorkOptions) -> CheckpointFile:
    path = Ledger(options.ledger).checkpoint_path(plan.experiment, name)
    return CheckpointFile(path, plan.experiment.digest, name)


def _circumstances(claim: Claim, since: float, device: str, stack: int) -> dict[str, Any]:
    """Where and how a fold was made, for its record."""
    started = datetime.fromtimestamp(since, timezone.utc)
    return {
        **claim.circumstances,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(time.time() - since, 3),
        "device": device,
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "versions": _versions(),
        "stack": stack,
    }


def made_by_another(experiment: Experiment, records: Sequence[FoldRecord]) -> str:
    """One line on finished folds of another program, if folds are missing; "" without any."""
    ours, codes = code_digest(), [code_of(record) for record in records]
    others = [code for code in codes if code != ours]
    if not others or len(records) == len(experiment.folds):
        return ""
    return (
        f"{len(others)} of {len(records)} finished folds were made by another version of the "
        f"program (code {', '.join(sorted(set(others)))}; here it is {ours})"
    )


@cache
def _versions() -> dict[str, str]:
    """Versions of those packages that are installed (a checkout on the path is not) and the code.

    ``code`` is the digest of what computes, which changes with every edit of a checkout.
    """
    found = {"python": platform.python_version(), "code": code_digest()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
