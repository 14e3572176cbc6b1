"""A user's network behind the interface of ours: built, checked, reproducible.

A function in the user's source (`dadnet.base.own_code`) is called as ``function(num_classes=K,
input_size=S, **arguments)`` and returns a `torch.nn.Module`. Its forward takes flows (B, 2, S, S),
z-scored, and returns logits (B, K), or a named tuple such as :class:`Output`.

Axes: B clips, S input size, K classes, C, H, W shape of a map.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from dadnet.base.digests import canonical_json
from dadnet.base.errors import DadnetError
from dadnet.base.own_import import load_function, source_errors
from dadnet.base.seeding import generator, global_draws
from dadnet.models.microflownext import NUM_STAGES, ModelOutput

if TYPE_CHECKING:
    from dadnet.config.model import ModelConfig

_CHECKED_CLIPS = 3
_TOLERANCE = 1e-3  # of the largest logit, between one clip alone and the clip in a batch


class Output(NamedTuple):
    """What a forward may return instead of logits; any named tuple with these fields will do.

    The teacher is aligned with the maps of the stages in `--alignment-stages`. Stage i has its
    sides: S / 4, S / 8, S / 16, S / 32, rounded down; the channels may differ.
    """

    logits: Tensor  # (B, K)
    stage0: Tensor | None = None  # (B, C, H, W)
    stage1: Tensor | None = None
    stage2: Tensor | None = None
    stage3: Tensor | None = None
    pooled: Tensor | None = None  # (B, D): features for the map on the run's page; else logits


class OwnNetwork(nn.Module):
    """A user's network as a student.

    Draws from global generators are those of the generator that it is called with, in the
    construction and in every training step.

    Args:
        config: Has the source, its arguments and the input size.
        num_classes: Number of classes K.
        draws: Its seed is that of the initial weights; None takes a fixed one.

    Attributes:
        dropout: 0, and dropped: none; masks are not drawn outside, as those of a baseline are.

    Raises:
        DadnetError: If the source cannot be run, or returns no module.
    """

    dropout = 0.0
    dropped: tuple[tuple[int, ...], ...] = ()

    def __init__(
        self, config: ModelConfig, num_classes: int, draws: torch.Generator | None = None
    ) -> None:
        super().__init__()
        assert config.model is not None
        self.code, self.input_size, self.num_classes = config.model, config.input_size, num_classes
        self.arguments = canonical_json(config.model_args)
        function = load_function(self.code)
        given = {"num_classes": num_classes, "input_size": config.input_size, **config.model_args}
        try:
            inspect.signature(function).bind(**given)
        except TypeError as error:
            called = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise DadnetError(
                f"model_args: {self.code.function}({called}) in {self.code.file}: {error}"
            ) from error
        except ValueError:  # a function without a signature
            pass
        seed = 0 if draws is None else draws.initial_seed()
        with torch.device("cpu"), global_draws(seed), source_errors(self.code):
            network = function(**given)
            if not isinstance(network, nn.Module):
                raise DadnetError(
                    f"{self.code}: expected a torch.nn.Module, got {type(network).__name__}"
                )
            tensors = [*network.parameters(), *network.buffers()]
            if any(isinstance(t, UninitializedParameter | UninitializedBuffer) for t in tensors):
                network(torch.zeros(2, 2, config.input_size, config.input_size))  # lazy layers
        self.network = network
        self.draws_itself = "generator" in inspect.signature(network.forward).parameters

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, *, keep: Any = None
    ) -> ModelOutput:
        """Classify flows.

        Args:
            x: Flows z-scored per channel, shape (B, 2, S, S).
            generator: Its seed is that of all draws while training; None takes the global ones.
            keep: Not used; draws are made inside.

        Raises:
            DadnetError: If shapes are wrong.
        """
        size = self.input_size
        if x.shape[1:] != (2, size, size):
            raise DadnetError(
                f"expected flows of shape (B, 2, {size}, {size}), got {tuple(x.shape)}"
            )
        given = {"generator": generator} if self.draws_itself else {}
        if self.training and generator is not None:
            with global_draws(generator.initial_seed(), x.device):
                returned = self.network(x, **given)
        else:
            returned = self.network(x, **given)
        return self._output(returned, x.shape[0])

    def _output(self, returned: Any, batch_size: int) -> ModelOutput:
        logits = getattr(returned, "logits", returned)
        fits = isinstance(logits, Tensor) and logits.shape[1:] == (self.num_classes,)
        # An export has a batch size without a value, which must not be compared.
        if not fits or (not torch.compiler.is_compiling() and logits.shape[0] != batch_size):
            expected = (batch_size, self.num_classes)
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise DadnetError(f"{self.code}: expected logits of shape {expected}, got {got}")
        stages = {i: getattr(returned, f"stage{i}", None) for i in range(NUM_STAGES)}
        if not any(isinstance(value, Tensor) for value in stages.values()):
            stages = dict(enumerate(getattr(returned, "features", ())))
        maps = {i: value for i, value in stages.items() if value is not None}
        pooled = getattr(returned, "pooled", None)
        return ModelOutput(logits, maps, logits if pooled is None else pooled, None)

    @cached_property
    def dims(self) -> dict[int, int]:
        """Channels of the map of each stage that the forward returns.

        Raises:
            DadnetError: If a map has other sides than the teacher's.
        """
        maps = self._tried().features
        assert isinstance(maps, Mapping)
        for stage, value in maps.items():
            side = self.input_size // (4 * 2**stage)
            if value.shape[0] != _CHECKED_CLIPS or value.shape[2:] != (side, side):
                raise DadnetError(
                    f"{self.code}: expected stage{stage} of shape (B, C, {side}, {side}) for an "
                    f"input size of {self.input_size}, got {tuple(value.shape)}"
                )
        return {stage: value.shape[1] for stage, value in maps.items()}

    def require_stages(self, stages: tuple[int, ...]) -> None:
        """Raise unless the forward returns the maps of these stages.

        Raises:
            DadnetError: If one is missing.
        """
        if lacking := [stage for stage in stages if stage not in self.dims]:
            found = ", ".join(f"stage{stage}" for stage in self.dims) or "logits alone"
            raise DadnetError(
                f"alignment_stages: expected a map stage{lacking[0]} of {self.code}, got {found}; "
                "see docs/own_model.md, or leave --model-type dad_net out"
            )

    def _tried(self) -> ModelOutput:
        """The output for a few clips of noise, in evaluation mode."""
        mode = self.training
        with torch.no_grad(), global_draws(0), source_errors(self.code):
            output: ModelOutput = self.eval()(self.noise())
        self.train(mode)
        return output

    def noise(self) -> Tensor:
        """A few clips of noise, to try a network."""
        shape = (_CHECKED_CLIPS, 2, self.input_size, self.input_size)
        return torch.randn(*shape, generator=generator("own model"))

    def draw_keep(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """No masks: draws are made inside."""
        return ()

    def describe(self) -> dict[str, str]:
        """The architecture as text, for the metadata of weight files."""
        return {
            "network": str(self.code),
            "num_classes": str(self.num_classes),
            "input_size": str(self.input_size),
            "source": self.code.digest,
            "arguments": self.arguments,
        }


@lru_cache(maxsize=64)
def check_own_model(config: ModelConfig, num_classes: int) -> None:
    """Build a user's network and try it, so that what is wrong is known before anything is written.

    Raises:
        DadnetError: If it cannot be built or run, its output is not finite or of another shape, it
            has nothing to train, or the output of a clip depends on the other clips of its batch.
    """
    network = OwnNetwork(config, num_classes, generator("own model"))
    code = network.code
    if not any(p.requires_grad for p in network.parameters()):
        raise DadnetError(f"{code}: expected weights that can be trained, got none")
    if strange := [n for n, v in network.state_dict().items() if not isinstance(v, Tensor)]:
        raise DadnetError(f"{code}: expected a state of tensors alone, got {strange[0]}")
    clips = network.noise()
    with source_errors(code):
        trained = network.train()(clips, generator("own model")).logits
        trained.sum().backward()
        with torch.no_grad():
            together, again = (network.eval()(clips).logits for _ in range(2))
            alone = torch.cat([network(clip[None]).logits for clip in clips])
    if not (trained.isfinite().all() and together.isfinite().all()):
        raise DadnetError(
            f"{code}: expected finite logits, got NaN or infinity, for clips of noise"
        )
    scale = max(1.0, float(together.abs().max()))
    for other, reason in (
        (again, "the same output for the same clips, got two"),
        (alone, "an output of each clip that does not depend on its batch, got another one alone"),
    ):
        if float((other - together).abs().max()) > _TOLERANCE * scale:
            raise DadnetError(f"{code}: expected in evaluation mode {reason}")
