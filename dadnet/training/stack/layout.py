"""What the folds of a stack have in common, and which tensors each fold has.

Folds may align different stages, or none. A single network names its adapters by their order
(`adapters.0` is that of its first adapted stage); a stack names them by the stage (`adapters.2`),
so that a name means the same for all folds. A stack holds the adapters that any fold has; the slot
of a fold without that adapter is filled with zeros, which are never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.models import DADNet, MicroFlowNeXt

TEACHER = "teacher."
_ADAPTERS = "adapters."


@dataclass(frozen=True)
class FoldLayout:
    """The weights and buffers of a stack that one fold has.

    Attributes:
        stages: the stages that it aligns, rising; none where its lambda is 0.
        names: name of each weight and buffer in the single network, weights first and in the order
            of its optimiser: name in the stack.
    """

    stages: tuple[int, ...]
    names: Mapping[str, str]

    @classmethod
    def of(cls, model: DADNet | MicroFlowNeXt) -> FoldLayout:
        """The layout of a network in a stack."""
        adapted = model.adapted_stages if isinstance(model, DADNet) else ()
        tensors = (*model.named_parameters(), *model.named_buffers())
        names = [name for name, _ in tensors if not name.startswith(TEACHER)]
        stages = model.alignment_stages if isinstance(model, DADNet) and model.aligned else ()
        return cls(stages, {name: _name_in_stack(name, adapted) for name in names})

    @cached_property
    def unused(self) -> frozenset[str]:
        """Names in the stack of what the fold has and never runs: adapters where lambda is 0."""
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
    _, number, rest = name.split(".", 2)
    return f"{_ADAPTERS}{adapted[int(number)]}.{rest}"


def check_alike(models: Sequence[DADNet | MicroFlowNeXt]) -> None:
    """Raise unless these networks can be one stack.

    Raises:
        DadnetError: If there is none, or they differ in more than their weights and alignment.
    """
    if not models:
        raise DadnetError("expected at least one fold in a stack, got none")
    first = _architecture(models[0])
    for k, model in enumerate(models[1:], 1):
        if (other := _architecture(model)) != first:
            raise DadnetError(f"expected folds alike in a stack, got {other} at {k} beside {first}")
        if not isinstance(models[0], DADNet) or not isinstance(model, DADNet):
            continue
        if models[0].teacher is model.teacher:
            continue  # no need to compare, for which a GPU would have to finish its work
        ours, theirs = models[0].teacher.state_dict(), model.teacher.state_dict()
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours):
            raise DadnetError(f"expected one teacher for all folds, fold {k} has another")


def stack_tensors(
    states: Sequence[Mapping[str, Tensor]], layouts: Sequence[FoldLayout]
) -> dict[str, Tensor]:
    """Stack the weights (or buffers) of folds; those of a teacher are left out.

    The result has names of the stack and shapes (K, *shape in the single network); adapters come
    last, by stage.
    """
    renamed = [
        {layout.names[name]: v.detach() for name, v in state.items() if name in layout.names}
        for state, layout in zip(states, layouts, strict=True)
    ]
    models = {name: value for state in renamed for name, value in state.items()}
    order = sorted(models, key=lambda name: -1 if (s := adapter_stage(name)) is None else s)
    return {
        name: torch.stack(
            [state.get(name, torch.zeros_like(models[name])).contiguous() for state in renamed]
        )
        for name in order
    }


def _architecture(model: DADNet | MicroFlowNeXt) -> dict[str, str]:
    """Everything that folds must have in common, except the weights of the teacher."""
    student = model.student if isinstance(model, DADNet) else model
    assert isinstance(student, MicroFlowNeXt)
    weight = student.head.weight
    described = {
        "kind": type(model).__name__,
        **model.describe(),
        "drop_path": str(student.drop_path_rate),
        "mode": "training" if model.training else "evaluation",
        "weights": f"{weight.dtype} on {weight.device}",
    }
    described.pop("alignment_stages", None)
    return described
