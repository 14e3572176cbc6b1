"""Does the search find a known best, and what does pruning save and lose?

`python -m benchmarks.search --seeds 0 1 2 3 4` runs 40 trials of 30 folds for each of 5 seeds, with
pruning by fold and without, on `landscape`: the studies are real, the trainings are not. The rule's
threshold was chosen on seeds 0 to 4, so that others judge it.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import optuna

from benchmarks.common import report
from benchmarks.landscape import (
    LandscapeService,
    in_region,
    make_landscape_plan,
    skill,
    true_uf1,
)
from dadnet.config import ExperimentConfig
from orchestration.plan import Plan
from orchestration.pruning import Pruning
from orchestration.search import search_here
from orchestration.study import Study
from orchestration.study_settings import SearchSettings
from search_spaces import SPACES
from search_spaces.space import apply_values

TRIALS = 40


def run_study(plan: Plan, pruning: Pruning) -> tuple[ExperimentConfig, int]:
    """The experiment of a study's winner, and the number of folds that were made for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = SearchSettings(SPACES["alignment"], TRIALS, pruning)
        study = Study(plan, settings, Path(folder), say=lambda _: None)
        study.open()
        service = LandscapeService(study.vals)
        search_here(study, service)
        winner = apply_values(plan.config, study.winner_values())
        study.close()
        return winner, len(service.made)


def replay(plan: Plan) -> dict[str, Any]:
    """The rule alone: the trials of a study without pruning, judged by it in the same order.

    Two searches of one seed part ways at the first stopped trial; here they cannot.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for pruning in ("none", "folds"):
            settings = SearchSettings(SPACES["alignment"], TRIALS, pruning)
            study = Study(plan, settings, Path(folder), say=lambda _: None)
            study.open()
            for trial in found[0].trials() if found else ():
                if trial.number:  # the recipe is enqueued already
                    study.enqueue(trial.params)
            search_here(study, LandscapeService(study.vals))
            found.append(study)
        seen = sum(trial.user_attrs["num_folds"] for trial in found[1].trials())
        free, ruled = (
            true_uf1(apply_values(plan.config, study.winner_values())) for study in found
        )
        same = len(found[1].trials()) == TRIALS
        for study in found:
            study.close()
    assert same
    return {
        "replay_saved": 1 - seen / (TRIALS * len(plan.folds)),
        "replay_lost_uf1": free - ruled,
    }


def random_uf1(plan: Plan) -> float:
    """Median over random settings of their UF1 without noise."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=plan.config.seed)
    study = optuna.create_study(sampler=sampler)
    values = [SPACES["alignment"].suggest(study.ask()) for _ in range(TRIALS)]
    return statistics.median(true_uf1(apply_values(plan.config, v)) for v in values)


def measure(seed: int) -> dict[str, Any]:
    """One seed: both ways, and the winner of each judged without noise."""
    plan = make_landscape_plan(seed)
    row: dict[str, Any] = {"seed": seed, "median_random_uf1": random_uf1(plan)}
    ways: tuple[Pruning, ...] = ("none", "folds")
    for pruning in ways:
        config, made = run_study(plan, pruning)
        row[f"{pruning}_folds"] = made
        row[f"{pruning}_uf1"] = true_uf1(config)
        row[f"{pruning}_in_region"] = in_region(config)
        row[f"{pruning}_weight"] = config.loss.alignment_weight
        row[f"{pruning}_stages"] = ",".join(map(str, config.loss.alignment_stages))
        row[f"{pruning}_skill"] = skill(config)
    row.update(replay(plan))
    row["saved"] = 1 - row["folds_folds"] / row["none_folds"]
    row["lost_uf1"] = row["none_uf1"] - row["folds_uf1"]
    return row


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    rows = [measure(seed) for seed in given.seeds]
    means = {
        f"mean_{name}": statistics.fmean(row[name] for row in rows)
        for name in ("saved", "lost_uf1", "replay_saved", "replay_lost_uf1")
    }
    report("search", [*rows, means], given.json)


if __name__ == "__main__":
    main()
