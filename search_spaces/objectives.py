"""Which alignment: DAD-Net's sliced distance, another term, or none; each with a weight.

The terms differ by orders of magnitude (on features of unit variance the contrastive term starts
at the logarithm of the batch size, CORAL below 0.01), so the weight ranges from 0.001 to 30. The
stages are those of the public recipes, and the last one alone.
"""

from typing import Any, get_args

from dadnet.config.experiment import Alignment, ExperimentConfig
from search_spaces.space import Space, Trial, Values

STAGES = {"3": (3,), "2,3": (2, 3), "0,3": (0, 3), "0,2,3": (0, 2, 3)}


def suggest(trial: Trial) -> Values:
    """The alignment, then its weight and stages, unless it is none."""
    alignment = trial.suggest_categorical("alignment", get_args(Alignment))
    if alignment == "none":
        return {"loss.alignment": alignment}
    return {
        "loss.alignment": alignment,
        "loss.alignment_weight": trial.suggest_float("alignment_weight", 1e-3, 30.0, log=True),
        "loss.alignment_stages": STAGES[trial.suggest_categorical("stages", list(STAGES))],
    }


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment; stages outside the space become the last two."""
    if not config.aligned:
        return {"alignment": "none"}
    stages = ",".join(map(str, config.loss.alignment_stages))
    return {
        "alignment": config.loss.alignment,
        "alignment_weight": min(max(config.loss.alignment_weight, 1e-3), 30.0),
        "stages": stages if stages in STAGES else "2,3",
    }


SPACE = Space("objectives", "which alignment, with its weight and stages", suggest, params_of)
