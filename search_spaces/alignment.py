"""Weight, number of projections and stages of the student's alignment with the teacher.

Lambda ranges from 0.01, where the term is negligible beside the cross-entropy, to 3, twice the
largest published weight (1.5, 4DME); the projections from 16 to 512 around the published 100; any
of the four stages may be aligned. No stage means no alignment, which is lambda = 0: weight and
projections are then not suggested, so that the study does not repeat one experiment under
different parameters.
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
