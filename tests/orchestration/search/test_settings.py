"""The settings of a study: order of the folds, digest, pruning rule and sampler, one by one."""

import dataclasses
import random

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner, SuccessiveHalvingPruner, WilcoxonPruner

from benchmarks.landscape import make_landscape_plan
from dadnet.base.digests import digest16
from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from orchestration.search.settings import (
    MIN_FOLDS,
    P_THRESHOLD,
    SeededTPESampler,
    StudySettings,
    check_space,
    fold_order,
    make_pruner,
    study_digest,
)
from search_spaces import SPACES
from search_spaces.space import Space


@pytest.fixture(scope="module")
def plan():
    return make_landscape_plan(seed=1, subjects=10, clips=6)


def test_the_folds_are_shuffled_with_the_seed_of_the_experiment(plan):
    names = sorted(fold.name for fold in plan.folds)
    expected = list(names)
    random.Random(seed_hash("fold order", plan.config.seed)).shuffle(expected)
    assert fold_order(plan, None) == tuple(expected) != tuple(names)
    assert fold_order(plan, 4) == tuple(expected[:4])


def test_the_digest_of_a_study_covers_all_settings_but_the_number_of_trials(plan):
    settings = StudySettings(SPACES["alignment"], 6)
    digest = study_digest(plan, settings)
    fields = {
        "schema": 1, "base": plan.experiment.digest, "space": "alignment",
        "second_objective": "none", "folds_per_trial": None, "num_startup": 10,
    }  # fmt: skip
    # Reports of UF1 do not mix with those of log-loss; without pruning there are none to mix.
    assert digest == digest16({**fields, "pruning": "folds", "judged_by": "val_uf1"})
    without = dataclasses.replace(settings, pruning="none")
    assert study_digest(plan, without) == digest16({**fields, "pruning": "none"})
    assert (settings.level, settings.group) == ("inner", "")
    changes = {
        "space": SPACES["optim"], "pruning": "asha", "second_objective": "flops",
        "folds_per_trial": 3, "num_startup": 2,
    }  # fmt: skip
    others = [
        study_digest(plan, dataclasses.replace(settings, **{n: v})) for n, v in changes.items()
    ]
    assert len({digest, *others}) == 6
    assert study_digest(plan, dataclasses.replace(settings, num_trials=9)) == digest


def test_the_rules_of_pruning():
    assert isinstance(make_pruner("none", 100), NopPruner)
    for epochs, first in ((100, 10), (5, 1), (29, 2)):
        halving = make_pruner("asha", epochs)
        assert isinstance(halving, SuccessiveHalvingPruner)
        assert (halving._min_resource, halving._reduction_factor) == (first, 3)
    rule = make_pruner("folds", 100)
    assert isinstance(rule, WilcoxonPruner)
    assert (rule._p_threshold, rule._n_startup_steps) == (P_THRESHOLD, MIN_FOLDS) == (0.01, 6)


def suggested(seed: int, trials: int, told: float = 1.0, startup: int = 3) -> list[dict]:
    """The parameters of a study of `trials` trials; the values are a function of the parameters."""
    study = optuna.create_study(sampler=SeededTPESampler(seed, startup), direction="maximize")
    for _ in range(trials):
        trial = study.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        study.tell(trial, -told * abs(x - 0.3) - abs(y - 0.6))
    return [trial.params for trial in study.trials]


def test_proposals_depend_on_seed_number_parameter_and_finished_trials_alone():
    first = suggested(1, 8)
    assert first == suggested(1, 8)
    assert first[:5] == suggested(1, 5)
    assert first[0] != suggested(2, 1)[0]
    assert first[:3] == suggested(1, 3, told=-1.0)  # at random
    assert first[4:] != suggested(1, 8, told=-1.0)[4:]
    assert suggested(1, 8, startup=8)[:3] == first[:3]
    assert suggested(1, 8, startup=8)[4:] != first[4:]
    flat = [value for params in first for value in params.values()]
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(("number", "purpose"), [(0, "x"), (4, "together")])
def test_a_proposal_is_optunas_with_the_seed_of_its_number_and_purpose(number, purpose):
    sampler = SeededTPESampler(7, 3)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(number):
        trial = study.ask()
        study.tell(trial, -abs(trial.suggest_float("x", 0, 1) - 0.3))
    drawn = study.ask().suggest_float("x", 0, 1)
    frozen = study.trials[number]
    seed = seed_hash("proposal", 7, number, purpose) % 2**32
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        own = optuna.samplers.TPESampler(
            n_startup_trials=3, multivariate=True, group=True, constant_liar=True, seed=seed
        )
    known = {"x": FloatDistribution(0, 1)} if number else {}
    assert own.infer_relative_search_space(study, frozen) == known
    if number:
        assert drawn == own.sample_relative(study, frozen, known)["x"]
    else:
        assert drawn == own.sample_independent(study, frozen, "x", FloatDistribution(0, 1))
    made = sampler._tpe(frozen, purpose)
    assert (made._multivariate, made._group, made._constant_liar) == (True, True, True)
    assert (made._n_startup_trials, SeededTPESampler(7)._num_startup) == (3, 10)


def test_a_space_is_drawn_once_before_a_study(plan):
    check_space(SPACES["alignment"], plan)

    def broken(trial):
        raise KeyError("lambda")

    with pytest.raises(DadnetError, match="space odd: KeyError: 'lambda'"):
        check_space(Space("odd", "", broken), plan)
    with pytest.raises(DadnetError, match="fields out of"):
        check_space(Space("odd", "", lambda trial: {"seed": 1}), plan)
    with pytest.raises(DadnetError, match="batch_size"):
        check_space(Space("odd", "", lambda trial: {"optim.batch_size": 0}), plan)
