"""The bookkeeping of a study, with an engine that makes the folds of a known landscape at once."""

import math
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from benchmarks.landscape import LandscapeService, make_landscape_plan
from dadnet.base.errors import DadnetError
from orchestration.search.settings import MIN_FOLDS, StudySettings, check_space
from orchestration.search.study import Study
from orchestration.search.trials import search_here
from results.ledger.studies import StudyLedger, StudyRecord
from results.ledger.val_side import ValLedger
from search_spaces import SPACES
from search_spaces.space import Space


class Killed(BaseException):
    """Like SIGKILL: nothing after it runs."""


class KillingService(LandscapeService):
    def __init__(self, vals, after: int) -> None:
        super().__init__(vals)
        self.after = after

    def wait(self, job, fold, on_epoch):
        if len(self.made) == self.after:
            raise Killed
        super().wait(job, fold, on_epoch)


class NanService(LandscapeService):
    """Every fold of every second trial diverges."""

    def side(self, plan, name):
        side = super().side(plan, name)
        if int(plan.experiment.digest, 16) % 2:
            return side.replace(log_losses=dict.fromkeys(side.log_losses))
        return side


class UnsureService(LandscapeService):
    """Every second trial has the same answers with a third of the confidence."""

    def side(self, plan, name):
        side = super().side(plan, name)
        if int(plan.experiment.digest, 16) % 2:
            losses = {s: loss and 3 * loss for s, loss in side.log_losses.items()}
            return side.replace(log_losses=losses)
        return side


@pytest.fixture(scope="module")
def plan():
    return make_landscape_plan(seed=1, subjects=10, clips=6)


def make_study(plan, root, **changes) -> Study:
    storage = changes.pop("storage", None)
    settings = {"space": SPACES["alignment"], "num_trials": 6, "num_startup": 3, **changes}
    return Study(plan, StudySettings(**settings), root, storage, say=lambda _: None)


def run(study: Study, service: LandscapeService | None = None) -> StudyRecord:
    service = service or LandscapeService(study.vals)
    study.open()
    try:
        search_here(study, service)
        return study.store()
    finally:
        study.close()


def seen(record: StudyRecord) -> list[tuple]:
    return [(t.number, t.state, t.params, t.values, t.num_folds, t.val_uf1) for t in record.trials]


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory):
    return run(make_study(plan, tmp_path_factory.mktemp("undisturbed")))


def test_every_trial_ends_and_the_best_one_wins(undisturbed):
    assert len(undisturbed.trials) == 6
    assert {trial.state for trial in undisturbed.trials} <= {"COMPLETE", "PRUNED"}
    complete = [trial for trial in undisturbed.trials if trial.values]
    assert undisturbed.best.values[0] == max(trial.values[0] for trial in complete)


def test_a_study_in_memory_is_that_of_a_database(plan, tmp_path, undisturbed):
    storage = optuna.storages.InMemoryStorage()
    assert seen(run(make_study(plan, tmp_path, storage=storage))) == seen(undisturbed)


def test_the_published_recipe_is_the_first_trial(undisturbed):
    assert undisturbed.trials[0].params == {
        "stage0": True, "stage1": False, "stage2": False, "stage3": True,
        "alignment_weight": 1.0, "num_projections": 100,
    }  # fmt: skip


@pytest.mark.parametrize("after", [0, 1, 9, 10, 11, 17, 23])
def test_a_killed_search_given_again_is_the_undisturbed_one(plan, tmp_path, undisturbed, after):
    study = make_study(plan, tmp_path)
    with pytest.raises(Killed):
        run(study, KillingService(study.vals, after))
    assert [t.state for t in study.trials()][-1] == TrialState.RUNNING
    again = run(make_study(plan, tmp_path))
    assert seen(again) == seen(undisturbed)
    assert again.winner == undisturbed.winner


def test_killed_after_every_few_folds_it_still_ends_the_same(plan, tmp_path, undisturbed):
    for _ in range(40):
        study = make_study(plan, tmp_path)
        try:
            record = run(study, KillingService(study.vals, 3))
            break
        except Killed:
            continue
    assert seen(record) == seen(undisturbed)


def test_killed_while_it_proposes_it_draws_the_same_again(plan, tmp_path, undisturbed):
    alignment = SPACES["alignment"]
    calls = []

    def suggest(trial):
        trial.suggest_categorical("stage0", [False, True])
        calls.append(trial.number)
        if calls.count(trial.number) == 1 and trial.number in (1, 2, 5):
            raise Killed
        return alignment.suggest(trial)

    space = replace(alignment, suggest=suggest)
    for _ in range(4):
        try:
            record = run(make_study(plan, tmp_path, space=space))
            break
        except Killed:
            continue
    assert calls.count(5) == 2
    assert seen(record) == seen(undisturbed)


def test_no_finished_fold_is_made_again_even_by_another_study(plan, tmp_path):
    first = make_study(plan, tmp_path, pruning="none")
    service = LandscapeService(first.vals)
    run(first, service)
    assert len(service.made) == len(set(service.made)) == 60
    other = make_study(plan, tmp_path, pruning="none", num_startup=4)
    assert other.digest != first.digest
    again = LandscapeService(other.vals)
    run(other, again)
    # The first three random trials and the recipe are the same experiments.
    assert not set(again.made) & set(service.made)
    assert len(again.made) < 60


def test_more_trials_continue_a_study(plan, tmp_path, undisturbed):
    short = run(make_study(plan, tmp_path, num_trials=3))
    longer = run(make_study(plan, tmp_path, num_trials=6))
    assert seen(longer)[:3] == seen(short)
    assert seen(longer) == seen(undisturbed)


def test_a_trial_with_nan_is_fail_and_the_study_goes_on(plan, tmp_path):
    study = make_study(plan, tmp_path, num_trials=8)
    record = run(study, NanService(study.vals))
    counts = record.counts()
    assert counts["FAIL"] > 0
    assert counts["COMPLETE"] > 0
    assert sum(counts.values()) == 8
    failed = [trial for trial in record.trials if trial.state == "FAIL"]
    assert all("log-loss is not finite" in trial.why for trial in failed)
    assert record.best.state == "COMPLETE"


def test_values_that_are_no_experiment_are_fail_too(plan, tmp_path):
    def suggest(trial):
        return {"loss.num_projections": trial.suggest_int("projections", -5, 5)}

    space = Space("odd", "half of it is refused", suggest)
    record = run(make_study(plan, tmp_path, space=space, num_trials=8))
    assert {trial.state for trial in record.trials} >= {"COMPLETE", "FAIL"}
    assert all("projections" in t.why for t in record.trials if t.state == "FAIL")
    with pytest.raises(DadnetError, match="expected fields out of"):
        check_space(Space("wrong", "", lambda trial: {"loss.lambda": 1.0}), plan)


def test_a_pruned_trial_keeps_its_partial_estimate_and_its_number_of_folds(plan, tmp_path):
    record = run(make_study(plan, tmp_path, num_trials=14))
    pruned = [trial for trial in record.trials if trial.state == "PRUNED"]
    assert pruned
    for trial in pruned:
        assert MIN_FOLDS <= trial.num_folds < 10
        assert len(trial.reports) == trial.num_folds
        assert math.isfinite(trial.val_uf1)
        assert trial.values is None
    assert record.best not in pruned


def test_a_trial_is_judged_by_uf1_and_not_by_its_confidence(plan, tmp_path):
    usual = run(make_study(plan, tmp_path / "usual", num_trials=14))
    study = make_study(plan, tmp_path / "unsure", num_trials=14)
    assert seen(run(study, UnsureService(study.vals))) == seen(usual)
    assert {trial.state for trial in usual.trials} == {"COMPLETE", "PRUNED"}


def test_all_trials_take_the_folds_in_one_shuffled_order(plan, tmp_path):
    study = make_study(plan, tmp_path)
    assert sorted(study.folds) == [fold.name for fold in plan.folds]
    assert list(study.folds) != sorted(study.folds)
    assert make_study(plan, tmp_path / "other").folds == study.folds
    assert make_study(plan, tmp_path, folds_per_trial=4).folds == study.folds[:4]


def test_two_studies_on_one_storage_do_not_mix(plan, tmp_path, undisturbed):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    one = make_study(plan, tmp_path / "one", storage=storage)
    two = make_study(plan, tmp_path / "two", storage=storage, space=SPACES["smoke"])
    one.open()
    two.open()
    services = [LandscapeService(study.vals) for study in (one, two)]
    for study, service in zip((one, two), services, strict=True):
        service.add_base(plan)
        search_here(study, service)
    assert seen(one.record()) == seen(undisturbed)
    assert len(two.record().trials) == 6
    assert len(optuna.get_all_study_names(storage)) == 2
    one.close()
    two.close()


def test_one_study_is_run_by_one_process(plan, tmp_path):
    study = make_study(plan, tmp_path)
    study.open()
    with pytest.raises(DadnetError, match="is being run by another process"):
        make_study(plan, tmp_path).open()
    study.close()
    again = make_study(plan, tmp_path)
    again.open()
    again.close()


def test_two_objectives_give_a_pareto_front(plan, tmp_path):
    study = make_study(plan, tmp_path, second_objective="seconds", pruning="none")
    record = run(study)
    assert record.objectives == ("val_uf1", "seconds")
    assert all(len(trial.values) == 2 for trial in record.trials)
    assert all(trial.values[1] == 10.0 for trial in record.trials)


def test_asha_reports_by_epoch_and_stops_trials(plan, tmp_path):
    config = replace(plan.config, optim=replace(plan.config.optim, epochs=10))
    from orchestration.folds.plan import with_config

    record = run(make_study(with_config(plan, config), tmp_path, pruning="asha", num_trials=14))
    pruned = [trial for trial in record.trials if trial.state == "PRUNED"]
    assert pruned
    assert all(trial.num_folds < 10 for trial in pruned)


def test_weights_are_kept_for_the_best_trial_alone(plan, tmp_path):
    class WithWeights(LandscapeService):
        def wait(self, job, fold, on_epoch):
            super().wait(job, fold, on_epoch)
            experiment = plan.experiment.replace(digest=job.experiment)
            path = self._vals.weights_path(experiment, fold)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")

    study = make_study(plan, tmp_path)
    record = run(study, WithWeights(study.vals))
    kept = {path.parent.parent.name for path in tmp_path.rglob("*.safetensors")}
    assert kept == {record.best.experiment}
    # Another study's request keeps them when this one releases them.
    experiment = plan.experiment.replace(digest=record.best.experiment)
    vals = ValLedger(tmp_path)
    vals.keep_weights(experiment, "other")
    vals.release_weights(experiment, record.digest)
    assert list(tmp_path.rglob("*.safetensors"))
    vals.release_weights(experiment, "other")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_study_comes_back_from_the_ledger_and_damage_is_set_aside(plan, tmp_path):
    record = run(make_study(plan, tmp_path))
    ledger = StudyLedger(tmp_path)
    assert ledger.studies() == (record,)
    path = ledger.folder(record.digest) / "study.json"
    path.write_text(path.read_text().replace("COMPLETE", "PRUNED", 1))
    with pytest.warns(UserWarning, match="damaged"):
        assert ledger.studies() == ()


@pytest.mark.parametrize(
    ("module", "absent"),
    [("searches", "ray.tune"), ("trial_process", "torch"), ("trial_process", "optuna")],
)
def test_slow_imports_wait_until_they_are_needed(module, absent):
    code = f"import sys, orchestration.search.{module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("url", ["sqlite:////proc/nowhere/x.db", "nothing://x"])
def test_a_storage_that_cannot_be_opened_is_one_line(plan, tmp_path, url):
    with pytest.raises(DadnetError, match="study storage"):
        make_study(plan, tmp_path, storage=url).open()
