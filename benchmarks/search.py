"""Does the search find a known best, and what does pruning save and lose?

`python -m benchmarks.search` runs 40 trials of 30 folds for each of 25 seeds, with pruning by fold
and without, on `landscape`: the studies are real, the trainings are simulated, and Optuna's storage
is in memory. The two searches of a seed differ from the first stopped trial on, so the loss of one
seed has a noise of about 0.03 UF1; the report has means with standard errors. The threshold of the
rule was chosen on seeds 0 to 4; the default seeds are different ones.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from benchmarks.common import report
from benchmarks.landscape import LandscapeService, in_region, make_landscape_plan, skill, true_uf1
from dadnet.config.experiment import ExperimentConfig
from orchestration.folds.plan import Plan
from orchestration.search.flags import Pruning
from orchestration.search.settings import StudySettings
from orchestration.search.study import Study
from orchestration.search.trials import search_here
from search_spaces import SPACES
from search_spaces.space import apply_values

TRIALS = 40
SEEDS = (*range(11, 16), *range(200, 220))


def run_study(
    plan: Plan, pruning: Pruning, ledger: Path, replayed: Sequence[FrozenTrial] = ()
) -> tuple[Study, int]:
    """Run a study to its end; return it with the number of folds that it needed.

    Args:
        plan: of a landscape.
        pruning: the rule.
        ledger: of its folds; existing folds are not computed again.
        replayed: trials whose settings replace the proposals.
    """
    settings = StudySettings(SPACES["alignment"], TRIALS, pruning)
    storage = optuna.storages.InMemoryStorage()
    study = Study(plan, settings, ledger, storage, say=lambda _: None)
    study.open()
    for trial in replayed:
        if trial.number:  # the recipe is enqueued already
            study.enqueue(trial.params)
    service = LandscapeService(study.vals)
    search_here(study, service)
    study.close()
    assert len(study.trials()) == TRIALS
    return study, len(service.made)


def winner(study: Study) -> ExperimentConfig:
    """The experiment of the study's winner."""
    return apply_values(study.plan.config, study.winner_values())


def random_uf1(plan: Plan) -> float:
    """Median UF1 without noise over random settings."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=plan.config.seed)
    study = optuna.create_study(sampler=sampler)
    values = [SPACES["alignment"].suggest(study.ask()) for _ in range(TRIALS)]
    return statistics.median(true_uf1(apply_values(plan.config, v)) for v in values)


def measure(seed: int) -> dict[str, Any]:
    """Search with one seed, with and without pruning, and judge each winner without noise.

    The two searches differ from the first stopped trial on. So the rule is also judged alone, in a
    replay of the trials of the study without pruning, in the same order.
    """
    plan = make_landscape_plan(seed)
    row: dict[str, Any] = {"seed": seed, "median_random_uf1": random_uf1(plan)}
    rules: tuple[Pruning, ...] = ("none", "folds")
    with tempfile.TemporaryDirectory() as folder:
        studies = {}
        for pruning in rules:
            studies[pruning], made = run_study(plan, pruning, Path(folder, pruning))
            row[f"{pruning}_folds"] = made
            row |= {f"{pruning}_{name}": v for name, v in _judge(winner(studies[pruning])).items()}
        replay, _ = run_study(plan, "folds", Path(folder, "none"), studies["none"].trials())
    num_folds = sum(trial.user_attrs["num_folds"] for trial in replay.trials())
    row["saved"] = 1 - row["folds_folds"] / row["none_folds"]
    row["lost_uf1"] = row["none_uf1"] - row["folds_uf1"]
    row["replay_saved"] = 1 - num_folds / (TRIALS * len(plan.folds))
    row["replay_lost_uf1"] = row["none_uf1"] - true_uf1(winner(replay))
    return row


def _judge(config: ExperimentConfig) -> dict[str, Any]:
    return {
        "uf1": true_uf1(config),
        "in_region": in_region(config),
        "weight": config.loss.alignment_weight,
        "stages": ",".join(map(str, config.loss.alignment_stages)),
        "skill": skill(config),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds with standard errors; the mean of `in_region` is a rate."""
    result: dict[str, Any] = {"seeds": len(rows)}
    for name in (
        "none_uf1",
        "folds_uf1",
        "none_in_region",
        "folds_in_region",
        "saved",
        "lost_uf1",
        "replay_saved",
        "replay_lost_uf1",
    ):
        values = [float(row[name]) for row in rows]
        result[f"mean_{name}"] = statistics.fmean(values)
        if len(values) > 1:
            result[f"se_{name}"] = statistics.stdev(values) / math.sqrt(len(values))
    return result


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    flags = parser.parse_args()
    rows = [measure(seed) for seed in flags.seeds]
    report("search", [*rows, summary(rows)], flags.json)


if __name__ == "__main__":
    main()
