"""What an ablation varies: the modules of the student, the stages that are aligned, the weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig

WEIGHTS = (0.1, 0.5, 1.0, 1.5, 2.0)
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    config: ExperimentConfig


def make_grid(base: ExperimentConfig, grids: tuple[str, ...]) -> tuple[Variant, ...]:
    """The base experiment first, then the variants of each grid; equal ones appear once.

    Args:
        base: what the variants are compared with.
        grids: some of `GRIDS`.

    Raises:
        DadnetError: if a grid is unknown or named twice, or the base has no alignment to vary.
    """
    unknown = [name for name in grids if name not in GRIDS]
    if unknown or not grids or len(set(grids)) != len(grids):
        raise DadnetError(
            f"grid: expected different ones of {', '.join(GRIDS)}, got {', '.join(grids) or 'none'}"
        )
    found = [Variant("base", base)]
    for name in grids:
        for variant in GRIDS[name](base):
            if all(variant.config != known.config for known in found):
                found.append(variant)
    return tuple(found)


def _modules(base: ExperimentConfig) -> list[Variant]:
    """Every choice of spatial transformer, channel attention and head attention, all first."""
    head = base.model.head if base.model.head != "linear" else "tokens"
    found = []
    for stn, channel, attention in product((True, False), repeat=3):
        parts = [
            name
            for name, used in (("STN", stn), ("channel attention", channel), ("head", attention))
            if used
        ]
        model = replace(
            base.model, stn=stn, channel_attention=channel, head=head if attention else "linear"
        )
        name = f"modules: {' + '.join(parts) or 'none'}"
        found.append(Variant(name, replace(base, model=model)))
    return found


def _alignment(base: ExperimentConfig) -> list[Variant]:
    """The student alone, then every choice of aligned stages, few first."""
    _check_aligned(base, "alignment")
    alone = replace(base, model=replace(base.model, model_type="baseline"))
    found = [Variant("alignment: none, the student alone", alone)]
    for number in range(1, len(STAGES) + 1):
        for stages in combinations(STAGES, number):
            name = f"alignment: stages {', '.join(map(str, stages))}"
            loss = replace(base.loss, alignment_stages=stages)
            found.append(Variant(name, replace(base, loss=loss)))
    return found


def _weight(base: ExperimentConfig) -> list[Variant]:
    _check_aligned(base, "weight")
    return [
        Variant(
            f"alignment weight {w:g}", replace(base, loss=replace(base.loss, alignment_weight=w))
        )
        for w in WEIGHTS
    ]


def _check_aligned(base: ExperimentConfig, grid: str) -> None:
    if not base.aligned:
        raise DadnetError(
            f"grid {grid}: expected a base with a teacher and an alignment, got model_type "
            f"{base.model.model_type}, alignment_weight {base.loss.alignment_weight:g}, "
            f"{len(base.loss.alignment_stages)} aligned stages; --grid modules needs none"
        )


GRIDS: Mapping[str, Callable[[ExperimentConfig], list[Variant]]] = {
    "modules": _modules,
    "alignment": _alignment,
    "weight": _weight,
}
