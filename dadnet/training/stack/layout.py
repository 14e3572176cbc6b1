"""What the members of a stack have in common, and what each has of its own.

Members may align different stages, or none. A lone network names its adapters by their order
(`adapters.0` is that of its first adapted stage), a stack by the stage (`adapters.2`), so that one
name is one thing for all members. A stack holds the adapters that any member has; the place of a
member that has none there is filled with zeros, which nothing reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.models import DADNet, MicroFlowNeXt

TEACHER = "teacher."
_ADAPTERS = "adapters."


@dataclass(frozen=True)
class MemberLayout:
    """What one member has of a stack's weights and buffers.

    Attributes:
        stages: the stages that it aligns, rising; none where its lambda is 0.
        names: its own name of each weight and buffer, weights first and in the lone optimiser's
            order: the stack's name.
    """

    stages: tuple[int, ...]
    names: Mapping[str, str]

    @classmethod
    def of(cls, member: DADNet | MicroFlowNeXt) -> MemberLayout:
        """The layout of a network in a stack."""
        adapted = member.adapted_stages if isinstance(member, DADNet) else ()
        tensors = (*member.named_parameters(), *member.named_buffers())
        own = [name for name, _ in tensors if not name.startswith(TEACHER)]
        stages = member.alignment_stages if isinstance(member, DADNet) and member.aligned else ()
        return cls(stages, {name: _name_in_stack(name, adapted) for name in own})

    @cached_property
    def unused(self) -> frozenset[str]:
        """The stack's names of what it has and never runs: adapters where lambda is 0."""
        return frozenset(
            name
            for name in self.names.values()
            if name.startswith(_ADAPTERS) and adapter_stage(name) not in self.stages
        )


def adapter_stage(name: str) -> int | None:
    """The stage of a weight of an adapter by its name in the stack; None for other weights."""
    return int(name.split(".")[1]) if name.startswith(_ADAPTERS) else None


def _name_in_stack(name: str, adapted: Sequence[int]) -> str:
    if not name.startswith(_ADAPTERS):
        return name
    _, place, rest = name.split(".", 2)
    return f"{_ADAPTERS}{adapted[int(place)]}.{rest}"


def check_alike(members: Sequence[DADNet | MicroFlowNeXt]) -> None:
    """Raise unless they can be one stack.

    Raises:
        DadnetError: If there is none, or they differ in more than their weights and alignment.
    """
    if not members:
        raise DadnetError("expected at least one member of a stack, got none")
    first = _architecture(members[0])
    for k, member in enumerate(members[1:], 1):
        if (found := _architecture(member)) != first:
            raise DadnetError(f"expected members alike, got {found} at {k} beside {first}")
        _check_teacher(members[0], member, k)


def stack_tensors(
    states: Sequence[Mapping[str, Tensor]], layouts: Sequence[MemberLayout]
) -> dict[str, Tensor]:
    """Put the members' weights (or buffers) together.

    Args:
        states: of each member, by its own names; a teacher's are left out.
        layouts: of each member.

    Returns:
        Name in the stack: shape (K, *shape of the lone one); adapters last, by stage.
    """
    named = [
        {layout.names[own]: value.detach() for own, value in state.items() if own in layout.names}
        for state, layout in zip(states, layouts, strict=True)
    ]
    models = {name: value for state in named for name, value in state.items()}
    order = sorted(models, key=lambda name: -1 if (s := adapter_stage(name)) is None else s)
    return {
        name: torch.stack(
            [state.get(name, torch.zeros_like(models[name])).contiguous() for state in named]
        )
        for name in order
    }


def _architecture(model: DADNet | MicroFlowNeXt) -> dict[str, str]:
    """Everything that members must have in common, but their teacher's weights."""
    student = model.student if isinstance(model, DADNet) else model
    weight = student.head.weight
    found = {
        "kind": type(model).__name__,
        **model.describe(),
        "drop_path": str(student.drop_path_rate),
        "mode": "training" if model.training else "evaluation",
        "weights": f"{weight.dtype} on {weight.device}",
    }
    found.pop("alignment_stages", None)
    return found


def _check_teacher(first: nn.Module, member: nn.Module, k: int) -> None:
    if not isinstance(first, DADNet) or not isinstance(member, DADNet):
        return
    ours, theirs = first.teacher.state_dict(), member.teacher.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours):
        raise DadnetError(f"expected one teacher for all members, member {k} has another")
