"""Which class trains a fold, and which a stack of folds, for each kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from dadnet.base.own_code import OwnCode
from dadnet.base.seeding import generator, global_draws, seed_hash
from dadnet.config.baselines import BASELINES, FITTED_BASELINES
from dadnet.config.experiment import ExperimentConfig, ModelConfig
from dadnet.flow.normalisation import normalise
from dadnet.folds.view import FoldView
from dadnet.models import LossParts, classification_loss
from dadnet.models.own import OwnNetwork
from dadnet.models.precision import matrix_units
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.stack.graph import Capture
from dadnet.training.teacher import Teacher

if TYPE_CHECKING:
    from dadnet.models.baselines import FittedBaseline  # at run time it would load scikit-learn


@lru_cache(maxsize=64)
def why_one_by_one(model: ModelConfig, num_classes: int, device: str) -> str:
    """Why folds of a user's network are not one program; "" if they are.

    Two copies of the network are tried as one program, and compared with the network itself.
    """
    if not model.own_alone:
        return f"{model.model} has a teacher beside it"
    network = OwnNetwork(model, num_classes, generator("own model")).to(device).train()
    if not all(weight.requires_grad for weight in network.parameters()):
        return f"some weights of {model.model} are frozen"
    from dadnet.training.vmapped_stack import VmappedStack  # it loads scikit-learn

    clips = network.noise().to(device)
    try:
        with global_draws(0, torch.device(device)), matrix_units("float32"):
            stack = VmappedStack([deepcopy(network) for _ in range(2)]).train()
            together = stack(torch.stack([clips, clips]))
            together.sum().backward()  # type: ignore[no-untyped-call]
            if any(weight.grad is None for weight in stack.parameters.values()):
                return f"some weights of {model.model} have no gradient"
            alike = torch.allclose(together[0], network(clips).logits, rtol=1e-3, atol=1e-4)
            stack.eval().classify(torch.stack([clips, clips]))
    except Exception as error:  # whatever vmap cannot do with the modules of others
        return " ".join(f"{model.model}, {type(error).__name__}: {error}".split())[:160]
    return "" if alike else f"{model.model} has other outputs by torch.vmap"


def _why_apart(config: ExperimentConfig, num_classes: int, device: str) -> str:
    """Why a user's source keeps folds apart; "" if it does not."""
    if isinstance(config.optim.augmentation, OwnCode):
        return f"the augmentation {config.optim.augmentation} takes the clips of one fold"
    return "" if config.model.model is None else why_one_by_one(config.model, num_classes, device)


def how_stacked(config: ExperimentConfig, num_classes: int, device: str) -> str:
    """One line: whether a stack with source of a user is one program, and if not, why.

    It is "" without such source.
    """
    own = config.model.model
    if reason := _why_apart(config, num_classes, device):
        return f"folds of a stack are trained one after the other: {reason}"
    if own is None:
        return ""
    if torch.device(device).type == "cpu":
        return (
            f"folds of a stack are trained one after the other: on a CPU, {own} rounds alike then"
        )
    return f"folds of a stack are trained as one program: {own} by torch.vmap"


class FittedFold(OneFold):
    """A fold of a baseline that one step fits to all fit clips, without gradient.

    It has one epoch; schedule and augmentation are not used.
    """

    @property
    def rate(self) -> float:
        """0: there is no learning rate."""
        return 0.0

    def batches(self) -> tuple[Tensor, ...]:
        """All fit clips at once, in the order of the dataset."""
        return (self.view.fit,)

    @torch.no_grad()
    def _training_step(self, rows: Tensor) -> LossParts:
        model = cast("FittedBaseline", self.model)
        flows = normalise(self.view.flows[rows].float(), self.statistics)
        labels = self.view.labels[rows]
        model.fit(flows, labels, seed_hash("fit", self.config.seed, self.view.name))
        self.step += 1
        return classification_loss(model.eval()(flows).logits, labels, 0.0)


def new_fold(
    config: ExperimentConfig, view: FoldView, teacher: Teacher | None, device: torch.device
) -> OneFold:
    """A fold at its beginning; arguments as of `OneFold`."""
    kind = FittedFold if config.model.model_type in FITTED_BASELINES else OneFold
    return kind(config, view, teacher, device)


def share_nothing(config: ExperimentConfig, num_classes: int, device: torch.device) -> bool:
    """Whether folds are trained one after the other in a stack of any size."""
    model = config.model
    if model.model_type in FITTED_BASELINES:
        return True
    if _by_vmap(model) and device.type == "cpu":
        return True  # `torch.vmap` is slower there, and rounds otherwise than a single network
    return bool(_why_apart(config, num_classes, str(device)))


def _by_vmap(model: ModelConfig) -> bool:
    return model.own_alone or model.model_type in BASELINES


def new_stack(folds: Sequence[OneFold], capture: Capture | None = None) -> FoldStack | None:
    """Folds to be trained as one program; None: one after the other, since they share nothing.

    `capture` makes one CUDA graph of a step; None: steps are eager.

    Raises:
        DadnetError: if they cannot be one stack.
    """
    first = folds[0]
    vmapped = _by_vmap(first.config.model)
    if vmapped and len(folds) == 1:
        return None
    if share_nothing(first.config, first.view.num_classes, first.device):
        return None
    if vmapped:
        from dadnet.training.vmapped_stack import VmappedFoldStack  # it loads scikit-learn

        return VmappedFoldStack(folds)
    return FoldStack(folds, capture)
