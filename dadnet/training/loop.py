"""Training of folds, several at once: the loop reads top to bottom in :func:`train_folds`.

The trainer sees `fit` and `val` clips only: the label of any other clip is hidden here, which no
loss survives (`dadnet.labels.targets`). A fold's result depends on the experiment and the fold
alone: every draw is seeded by what it is for, so neither its neighbours in the stack nor an
interruption changes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from dadnet.config.experiment import ExperimentConfig
from dadnet.folds.view import FoldView, TrainedFold
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.fold_stack import MemberStack
from dadnet.training.kinds import MemberLoop, new_member, new_stack
from dadnet.training.one_fold import Member
from dadnet.training.teacher import Teacher

OnEpoch = Callable[[str, int, Mapping[str, float]], None]


class StoppedError(RuntimeError):
    """Training was asked to stop; the state of every fold is in its checkpoint."""


@dataclass(frozen=True, eq=False)
class FoldTask:
    """A fold to train.

    Attributes:
        config: the experiment.
        view: what may be seen of the fold.
        checkpoint: where its state is kept, or None; a fold with a state goes on from there, with
            the same numbers as if it had not been interrupted.
        kind: how the fold's epochs are drawn; None: as the experiment's model is trained.
    """

    config: ExperimentConfig
    view: FoldView
    checkpoint: CheckpointFile | None = None
    kind: type[Member] | None = None


def train_folds(
    next_task: Callable[[], FoldTask | None],
    places: int,
    *,
    teacher: Teacher | None,
    device: torch.device,
    checkpoint_every: int = 5,
    on_epoch: OnEpoch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[TrainedFold]:
    """Train folds as one stack on one device; the place of a finished fold is taken by the next.

    Args:
        next_task: gives the next fold, or None if there is none now.
        places: folds trained at once, at least 1.
        teacher: the frozen macro-expression teacher, None for a baseline.
        device: where to train.
        checkpoint_every: epochs between two states.
        on_epoch: called with fold, epoch (from 1) and the epoch's metrics.
        stop: asked after every epoch; if it says so, every fold's state is kept.

    Yields:
        The outcome of each fold as soon as it is there.

    Raises:
        StoppedError: because of `stop`.
    """
    running: dict[Member, CheckpointFile | None] = {}
    stack: MemberStack | MemberLoop | None = None
    while True:
        for member in [member for member in running if member.finished]:
            del running[member]
            yield member.outcome()
        while len(running) < places and (task := next_task()) is not None:
            running[_begin(task, teacher, device)] = task.checkpoint
        if not running:
            return
        if any(member.finished for member in running):
            continue  # it had been interrupted after its last epoch

        if len(running) == 1:
            [member] = running
            member.train_epoch()
            probabilities = [member.val_probabilities()]
        else:
            if stack is None or stack.members != list(running):
                stack = new_stack(list(running))
            stack.train_epoch()
            probabilities = stack.val_probabilities()

        stopping = stop()
        for (member, checkpoint), found in zip(running.items(), probabilities, strict=True):
            member.validate(found)
            member.select()
            if checkpoint is not None and (stopping or member.epoch % checkpoint_every == 0):
                checkpoint.save(member.state())
            if on_epoch is not None:
                on_epoch(member.view.name, member.epoch, member.last_metrics())
        if stopping:
            raise StoppedError(", ".join(member.view.name for member in running))


def train_stack(
    config: ExperimentConfig,
    views: Sequence[FoldView],
    *,
    teacher: Teacher | None,
    device: torch.device,
    checkpoints: Sequence[CheckpointFile | None],
    checkpoint_every: int = 5,
    on_epoch: OnEpoch | None = None,
) -> list[TrainedFold]:
    """Train all of these folds of one experiment at once; see :func:`train_folds`.

    Returns:
        One outcome per fold, in the order of `views`.
    """
    tasks = (FoldTask(config, v, c) for v, c in zip(views, checkpoints, strict=True))
    trained = train_folds(
        lambda: next(tasks, None),
        len(views),
        teacher=teacher,
        device=device,
        checkpoint_every=checkpoint_every,
        on_epoch=on_epoch,
    )
    outcomes = {outcome.name: outcome for outcome in trained}
    return [outcomes[view.name] for view in views]


def _begin(task: FoldTask, teacher: Teacher | None, device: torch.device) -> Member:
    member = (task.kind or new_member)(task.config, task.view, teacher, device)
    if task.checkpoint is not None and (state := task.checkpoint.load()) is not None:
        member.load_state(state)
    return member
