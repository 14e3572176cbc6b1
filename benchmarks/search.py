"""Does the search find a known best, and what does pruning save and lose?

`python -m benchmarks.search` runs 40 trials of 30 folds for each of 25 seeds, with pruning by fold
and without, on `landscape`: the studies are real, the trainings are simulated, and Optuna's storage
is in memory. The two searches of a seed differ from the first stopped trial on, so the loss of one
seed has a noise of about 0.03 UF1; the report has means with standard errors. The threshold of the
rule was chosen on seeds 0 to 4; the default seeds are different ones.

`--space smoothing` also varies label smoothing, where skill and confidence part ways. For each rule
(judged by UF1, as the study does, and by log-loss) the report says how many folds it saves, and how
many of the trials that are better than the best one before them, without noise, it stops.
`--rules` measures that alone, for several thresholds, on the trials of the search without pruning.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.common import report
from benchmarks.landscape import LandscapeService, in_region, make_landscape_plan, skill, true_uf1
from dadnet.config.experiment import ExperimentConfig
from orchestration.folds.plan import Plan
from orchestration.search.flags import Pruning
from orchestration.search.settings import P_THRESHOLD, StudySettings, make_pruner
from orchestration.search.study import Study
from orchestration.search.trial import pooled_uf1
from orchestration.search.trials import search_here
from results.ledger.val_side import ValSide
from search_spaces import SPACES, alignment
from search_spaces.space import Space, Trial, Values, apply_values

TRIALS = 40
SEEDS = (*range(11, 16), *range(200, 220))
THRESHOLDS = (0.05, 0.02, P_THRESHOLD)
FIGURES: dict[str, Callable[[ValSide], float]] = {
    "uf1": lambda side: side.uf1,
    "log_loss": lambda side: -side.log_loss,
}


def suggest_with_smoothing(trial: Trial) -> Values:
    """The space `alignment`, and label smoothing."""
    smoothing = trial.suggest_float("label_smoothing", 0.0, 0.2)
    return {**alignment.suggest(trial), "loss.label_smoothing": smoothing}


def params_with_smoothing(config: ExperimentConfig) -> dict[str, Any]:
    """The parameters of an experiment."""
    return {**alignment.params_of(config), "label_smoothing": config.loss.label_smoothing}


SMOOTHING = Space(
    "smoothing", "alignment and label smoothing", suggest_with_smoothing, params_with_smoothing
)
LANDSCAPES = {"alignment": SPACES["alignment"], "smoothing": SMOOTHING}


def run_study(
    plan: Plan,
    pruning: Pruning,
    ledger: Path,
    replayed: Sequence[FrozenTrial] = (),
    space: Space = SPACES["alignment"],
) -> tuple[Study, int]:
    """Run a study to its end; return it with the number of folds that it needed.

    Args:
        plan: of a landscape.
        pruning: the rule.
        ledger: of its folds; existing folds are not computed again.
        replayed: trials whose settings replace the proposals.
        space: what is varied.
    """
    settings = StudySettings(space, TRIALS, pruning)
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


def judge(study: Study, figure: str, threshold: float = P_THRESHOLD) -> dict[str, int]:
    """What the rule makes of the complete trials of a study, in their order, by one figure.

    Returns:
        Folds that it needs, trials that are truly better than the best one before them, and how
        many of those it stops.
    """
    rule, judged = make_pruner("folds", 1, threshold), optuna.create_study(direction="maximize")
    result, best, best_val = {"folds": 0, "better": 0, "stopped": 0}, -math.inf, -math.inf
    for trial in study.trials():
        experiment = study.plan.experiment.replace(digest=trial.user_attrs["experiment"])
        sides = [side for name in study.folds if (side := study.vals.get(experiment, name))]
        assert len(sides) == len(study.folds)
        values = [FIGURES[figure](side) for side in sides]
        made = _stopped_after(judged, rule, values)
        true = true_uf1(apply_values(study.plan.config, trial.user_attrs["values"]))
        result["folds"] += made
        if -math.inf < best < true:
            result["better"] += 1
            result["stopped"] += made < len(sides)
        if made == len(sides):
            val = pooled_uf1(sides)
            reports = dict(enumerate(values, start=1))
            judged.add_trial(create_trial(value=val, intermediate_values=reports))
            if val > best_val:
                best, best_val = true, val
    return result


def _stopped_after(judged: optuna.Study, rule: BasePruner, values: Sequence[float]) -> int:
    """Folds of a trial with these values; the last fold stops nothing."""
    for number in range(1, len(values)):
        reports = dict(enumerate(values[:number], start=1))
        running = create_trial(state=TrialState.RUNNING, intermediate_values=reports)
        if rule.prune(judged, running):
            return number
    return len(values)


def random_uf1(plan: Plan, space: Space) -> float:
    """Median UF1 without noise over random settings."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=plan.config.seed)
    study = optuna.create_study(sampler=sampler)
    values = [space.suggest(study.ask()) for _ in range(TRIALS)]
    return statistics.median(true_uf1(apply_values(plan.config, v)) for v in values)


def measure(seed: int, space: Space = SPACES["alignment"]) -> dict[str, Any]:
    """Search with one seed, with and without pruning, and judge each winner without noise.

    The two searches differ from the first stopped trial on. So the rule is also judged alone, in a
    replay of the trials of the study without pruning, in the same order.
    """
    plan = make_landscape_plan(seed)
    row: dict[str, Any] = {"seed": seed, "median_random_uf1": random_uf1(plan, space)}
    rules: tuple[Pruning, ...] = ("none", "folds")
    with tempfile.TemporaryDirectory() as folder:
        studies = {}
        for pruning in rules:
            studies[pruning], made = run_study(plan, pruning, Path(folder, pruning), (), space)
            row[f"{pruning}_folds"] = made
            row |= {f"{pruning}_{name}": v for name, v in _judge(winner(studies[pruning])).items()}
        complete = studies["none"].trials()
        replay, _ = run_study(plan, "folds", Path(folder, "none"), complete, space)
        judged = {figure: judge(studies["none"], figure) for figure in FIGURES}
    num_folds = sum(trial.user_attrs["num_folds"] for trial in replay.trials())
    row["saved"] = 1 - row["folds_folds"] / row["none_folds"]
    row["lost_uf1"] = row["none_uf1"] - row["folds_uf1"]
    row["replay_saved"] = 1 - num_folds / (TRIALS * len(plan.folds))
    row["replay_lost_uf1"] = row["none_uf1"] - true_uf1(winner(replay))
    for figure, found in judged.items():
        row[f"{figure}_saved"] = 1 - found["folds"] / row["none_folds"]
        row |= {f"{figure}_{name}": found[name] for name in ("better", "stopped")}
    return row


def measure_rules(seed: int, space: Space) -> list[dict[str, Any]]:
    """Search with one seed without pruning, and apply each rule to its trials; a row for each."""
    plan = make_landscape_plan(seed)
    rules = [("uf1", p) for p in THRESHOLDS] + [("log_loss", THRESHOLDS[1])]
    with tempfile.TemporaryDirectory() as folder:
        study, made = run_study(plan, "none", Path(folder), (), space)
        found = [(figure, p, judge(study, figure, p)) for figure, p in rules]
    return [
        {"seed": seed, "figure": figure, "p": p, "saved": 1 - row["folds"] / made, **row}
        for figure, p, row in found
    ]


def summary_of_rules(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each rule the mean fraction of folds saved and the better trials that it stops."""
    result = []
    for rule in dict.fromkeys((row["figure"], row["p"]) for row in rows):
        some = [row for row in rows if (row["figure"], row["p"]) == rule]
        better, stopped = (sum(row[name] for row in some) for name in ("better", "stopped"))
        result.append(
            {
                "seeds": len(some),
                "figure": rule[0],
                "p": rule[1],
                "mean_saved": statistics.fmean(row["saved"] for row in some),
                "better": better,
                "stopped": stopped,
                "fraction_stopped": stopped / better if better else None,
            }
        )
    return result


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
        "uf1_saved",
        "log_loss_saved",
    ):
        values = [float(row[name]) for row in rows]
        result[f"mean_{name}"] = statistics.fmean(values)
        if len(values) > 1:
            result[f"se_{name}"] = statistics.stdev(values) / math.sqrt(len(values))
    for figure in FIGURES:
        for name in (f"{figure}_better", f"{figure}_stopped"):
            result[name] = sum(row[name] for row in rows)
    return result


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--space", choices=tuple(LANDSCAPES), default="alignment")
    parser.add_argument("--rules", action="store_true", help="measure the rules alone")
    flags = parser.parse_args()
    space = LANDSCAPES[flags.space]
    if flags.rules:
        rules = [row for seed in flags.seeds for row in measure_rules(seed, space)]
        report("search rules", [*rules, *summary_of_rules(rules)], flags.json)
        return
    rows = [measure(seed, space) for seed in flags.seeds]
    report("search", [*rows, summary(rows)], flags.json)


if __name__ == "__main__":
    main()
