"""Which kind of member and of stack an experiment has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dadnet.config.experiment import FITTED, RIVALS, ExperimentConfig
from dadnet.folds.view import FoldView
from dadnet.inference.score import Probabilities
from dadnet.training.fold_stack import MemberStack
from dadnet.training.one_fold import Member
from dadnet.training.teacher import Teacher


class MemberLoop:
    """Members that are made one after the other: there is nothing to be shared in a fit."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    def train_epoch(self) -> None:
        """One pass of every member over its own fit clips."""
        for member in self.members:
            member.train_epoch()

    def training_step(self, chosen: list[int], rows: list[Tensor]) -> None:
        """One step of some members, each on its own rows."""
        for k, own in zip(chosen, rows, strict=True):
            self.members[k].training_step(own)

    def val_probabilities(self) -> list[Probabilities]:
        """Class probabilities of every member's val clips."""
        return [member.val_probabilities() for member in self.members]


def new_member(
    config: ExperimentConfig, view: FoldView, teacher: Teacher | None, device: torch.device
) -> Member:
    """A fold at its beginning; arguments as `Member`."""
    if config.model.model_type in FITTED:
        from dadnet.training.fitted_member import FittedMember  # it loads scikit-learn

        return FittedMember(config, view, teacher, device)
    return Member(config, view, teacher, device)


def new_stack(members: Sequence[Member]) -> MemberStack | MemberLoop:
    """Members to be trained together.

    Raises:
        DadnetError: if they cannot be one stack.
    """
    kind = members[0].config.model.model_type
    if kind in FITTED:
        return MemberLoop(members)
    if kind in RIVALS:
        from dadnet.training.vmapped_stack import VmappedMemberStack  # it loads scikit-learn

        return VmappedMemberStack(members)
    return MemberStack(members)
