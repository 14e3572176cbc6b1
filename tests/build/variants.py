"""Experiments of one model that differ in some settings, as a ledger of a researcher has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dadnet.config.experiment import DataConfig, ExperimentConfig, experiment_digest
from dadnet.config.presets import get_preset
from results.ledger.records import Experiment


def identity(config: ExperimentConfig, **changes: Any) -> dict[str, Any]:
    """Return the fields of an `Experiment` with this configuration."""
    return {
        "digest": experiment_digest(config, "d" * 16, "e" * 16),
        "method": config.method(),
        "dataset": config.data.dataset,
        "selection": config.data.selection,
        "seed": config.seed,
        "config": config.to_json(),
        **changes,
    }


def eight(dataset: str = "synthetic") -> dict[str, ExperimentConfig]:
    """Return eight variants of one DAD-Net by the name that the leaderboard gives them."""
    base = get_preset("smoke", DataConfig(dataset=dataset))

    def loss(**changes: Any) -> ExperimentConfig:
        return replace(base, loss=replace(base.loss, **changes))

    return {
        "preset smoke": base,
        "preset smoke, seed 7": replace(base, seed=7),
        "lambda 1.5": loss(alignment_weight=1.5),
        "lambda 1.5, stages 1,2,3": loss(alignment_weight=1.5, alignment_stages=(1, 2, 3)),
        "stages 3": loss(alignment_stages=(3,)),
        "no spatial transformer": replace(base, model=replace(base.model, stn=False)),
        "epochs 5": replace(base, optim=replace(base.optim, epochs=5)),
        "lr 0.001": replace(base, optim=replace(base.optim, lr=1e-3)),
    }


def fill_eight(
    fill: Callable[..., Experiment], table: Callable[[int], Any], dataset: str = "synthetic"
) -> dict[str, Experiment]:
    """Store the eight variants, the n-th with the answers of `table(n)`."""
    return {
        name: fill(table(number), **identity(config))
        for number, (name, config) in enumerate(eight(dataset).items())
    }
