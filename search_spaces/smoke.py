"""Two parameters, for tests and a first try: the weight, and the last stage or the last two."""

from typing import Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces.space import Space, Trial, Values


def suggest(trial: Trial) -> Values:
    """Weight and stages."""
    both = trial.suggest_categorical("both_stages", [False, True])
    return {
        "loss.alignment_weight": trial.suggest_float("alignment_weight", 0.01, 3.0, log=True),
        "loss.alignment_stages": (2, 3) if both else (3,),
    }


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The nearest parameters of an experiment; without an alignment its smallest weight."""
    weight = min(max(config.loss.alignment_weight, 0.01), 3.0)
    return {"both_stages": 2 in config.loss.alignment_stages, "alignment_weight": weight}


SPACE = Space("smoke", "weight and last stages, for tests and a first try", suggest, params_of)
