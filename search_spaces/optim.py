"""The optimiser: around the two public recipes (3e-5 at batch 32, 1e-4 at batch 8)."""

from typing import Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces.space import Space, Trial, Values


def suggest(trial: Trial) -> Values:
    """Learning rate, decay, smoothing, batch size."""
    return {
        "optim.lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "optim.weight_decay": trial.suggest_float("weight_decay", 1e-5, 0.1, log=True),
        "optim.batch_size": trial.suggest_categorical("batch_size", [8, 16, 32, 64]),
        "loss.label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
    }


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment."""
    return {
        "lr": config.optim.lr,
        "weight_decay": config.optim.weight_decay,
        "batch_size": config.optim.batch_size,
        "label_smoothing": config.loss.label_smoothing,
    }


SPACE = Space("optim", "learning rate, weight decay, batch size, smoothing", suggest, params_of)
