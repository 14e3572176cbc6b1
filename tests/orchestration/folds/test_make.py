import warnings

import pytest
import torch

from orchestration import run_loso
from orchestration.folds import make as work
from orchestration.folds.flags import parse_flags
from orchestration.folds.make import WorkOptions, make_folds_of_plan
from orchestration.folds.plan import make_plan
from results.ledger.ledger import Ledger
from tests.build.runs import ledger_content, run_words


@pytest.fixture
def plan(site, tmp_path):
    flags = parse_flags(run_words(site, tmp_path / "runs"))
    return make_plan(flags.experiment, flags.flows, flags.macro_weights)


def test_a_stack_that_runs_out_of_memory_is_halved_and_goes_on(plan, tmp_path, monkeypatch):
    real, sizes = work.train_folds, []

    def small_device(next_task, places, **options):
        sizes.append(places)
        if places > 2:
            next_task()  # a fold was begun
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(next_task, places, **options)

    monkeypatch.setattr(work, "train_folds", small_device)
    names = [fold.name for fold in plan.folds]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_folds_of_plan(plan, names, WorkOptions(tmp_path / "runs"))
    assert sizes == [5, 3, 2]
    assert "a stack of 5 folds ran out of memory" in str(caught[0].message)
    ledger = Ledger(tmp_path / "runs")
    ledger.open(plan.experiment)
    assert ledger.missing(plan.experiment) == ()


def test_one_fold_that_does_not_fit_is_an_error(plan, tmp_path, monkeypatch):
    def no_device(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(work, "train_folds", no_device)
    with pytest.raises(torch.OutOfMemoryError):
        make_folds_of_plan(plan, [plan.folds[0].name], WorkOptions(tmp_path / "runs"))


def test_auto_measures_and_says_what_it_took(site, tmp_path, capsys):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--stack", "auto")
    assert run_loso.main(words) == 0
    assert "ms per fold and step by size: 1:" in capsys.readouterr().out
    assert len(ledger_content(tmp_path / "runs")) == 5


def test_a_free_place_is_taken_by_the_next_fold(plan, tmp_path):
    names = [fold.name for fold in plan.folds]
    later, recorded = iter(names[2:]), []
    make_folds_of_plan(
        plan,
        names[:2],
        WorkOptions(tmp_path / "runs"),
        more=lambda: next(later, None),
        on_record=recorded.append,
        host=lambda name: {"tries": names.index(name)},
    )
    assert sorted(recorded) == sorted(names)
    records = Ledger(tmp_path / "runs").records(plan.experiment)
    assert {r.fold: (r.host["tries"], r.host["stack"]) for r in records} == {
        name: (names.index(name), 2) for name in names
    }
