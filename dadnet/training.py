"""Training of a stack of folds: the loop reads top to bottom in :func:`train_stack`.

The trainer sees `fit` and `val` clips only: the label of any other clip is -1 here, which the
cross-entropy refuses. A fold's result depends on the experiment and the fold alone: every draw is
seeded by what it is for, so neither its neighbours in the stack nor an interruption changes it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from dadnet.checkpoint import CheckpointFile
from dadnet.config import ExperimentConfig
from dadnet.member import FoldView, Member, TrainedFold
from dadnet.member_stack import MemberStack
from dadnet.teacher import Teacher

OnEpoch = Callable[[str, int, Mapping[str, float]], None]


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
    """Train the folds of a stack on one device.

    Args:
        config: the experiment.
        views: what may be seen of each fold.
        teacher: the frozen macro-expression teacher, None for a baseline.
        device: where to train.
        checkpoints: for each fold where its state is kept, or None; a fold with a state goes on
            from there, with the same numbers as if it had not been interrupted.
        checkpoint_every: epochs between two states.
        on_epoch: called with fold, epoch (from 1) and the epoch's metrics.

    Returns:
        One outcome per fold, in the order of `views`.
    """
    members = [Member(config, view, teacher, device) for view in views]
    for member, checkpoint in zip(members, checkpoints, strict=True):
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            member.load_state(state)

    stack: MemberStack | None = None
    while active := [k for k, member in enumerate(members) if not member.finished]:
        if len(active) == 1:
            members[active[0]].train_epoch()
        else:
            if stack is None or len(stack) != len(active):  # a finished fold has left it
                stack = MemberStack([members[k] for k in active])
            stack.train_epoch()
        for k in active:
            member, checkpoint = members[k], checkpoints[k]
            member.validate()
            member.select()
            if checkpoint is not None and member.epoch % checkpoint_every == 0:
                checkpoint.save(member.state())
            if on_epoch is not None:
                on_epoch(member.view.name, member.epoch, member.last_metrics())

    return [member.outcome() for member in members]
