"""How strongly, how finely and where the student is aligned with the teacher.

Lambda from 0.01, where the term is lost beside the cross-entropy, to 3, twice the largest
published weight (1.5, 4DME); 16 to 512 projections around the published 100; any of the four
stages. No stage means no alignment, which is lambda = 0: the weight and the projections are then
not asked for, so that the study does not try one experiment under many names.
"""

from typing import Any

from dadnet.config.experiment import ExperimentConfig
from search_spaces.space import Space, Trial, Values

STAGES = (0, 1, 2, 3)


def suggest(trial: Trial) -> Values:
    """Stage switches, then weight and projections if a stage is on."""
    stages = tuple(
        stage for stage in STAGES if trial.suggest_categorical(f"stage{stage}", [False, True])
    )
    if not stages:
        return {"loss.alignment_weight": 0.0, "loss.alignment_stages": ()}
    return {
        "loss.alignment_weight": trial.suggest_float("alignment_weight", 0.01, 3.0, log=True),
        "loss.num_projections": trial.suggest_int("num_projections", 16, 512, log=True),
        "loss.alignment_stages": stages,
    }


def params_of(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment."""
    on = config.loss.alignment_stages if config.loss.alignment_weight > 0 else ()
    params: dict[str, Any] = {f"stage{stage}": stage in on for stage in STAGES}
    if on:
        params["alignment_weight"] = config.loss.alignment_weight
        params["num_projections"] = config.loss.num_projections
    return params


SPACE = Space("alignment", "lambda, projections and stages of the alignment", suggest, params_of)
