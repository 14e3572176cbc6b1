import multiprocessing

import pytest
import torch

from dadnet.folds.view import FoldView
from orchestration.folds.cost import Cost, busy_neighbours, measure_cost
from orchestration.folds.flags import parse_flags
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import load_inputs, plan_of
from tests.build.runs import run_words


def test_workers_take_the_next_fold():
    # Two workers: 5, 1 + 2 + 2, then 4 goes to the first that is free.
    cost = Cost(0.1, 0.0125, 0.01, (5.0, 1.0, 2.0, 2.0, 4.0))
    assert cost.wall_s(2) == 9.0
    assert cost.wall_s(1) == 14.0
    assert cost.wall_s(9) == 5.0


def test_the_line_gives_time_folds_and_work():
    line = Cost(0.1, 0.0125, 0.01, (1800.0, 1800.0)).line(2)
    assert line.startswith("about 30:00 on 2 workers")
    assert "2 folds, 100 ms a step on cpu, 1.00 hours of work in all" in line


def test_the_cost_counts_epochs_and_clips(site, tmp_path):
    flags = parse_flags(run_words(site, tmp_path / "runs"))
    plan = plan_of(
        flags.experiment, load_inputs(flags.experiment, flags.flows, flags.macro_weights)
    )
    cost = measure_cost(plan, [f.name for f in plan.folds], WorkOptions(tmp_path / "runs"))
    fold = plan.folds[0]
    fit, val, test = (len(plan.dataset.rows(side)) for side in (fold.fit, fold.val, fold.test))
    batch = -(-fit // -(-fit // plan.config.optim.batch_size))
    epoch_s = cost.step_s * fit / batch + cost.val_s * val + cost.epoch_s
    expected = cost.begin_s + plan.config.optim.epochs * epoch_s + cost.val_s * (fit + 2 * test)
    assert cost.fold_s[0] == pytest.approx(expected)
    assert min(cost.begin_s, cost.epoch_s) > 0
    assert len(cost.fold_s) == 5
    assert cost.step_s == pytest.approx(cost.clip_s * batch)


def test_steps_are_timed_beside_as_many_processes_as_will_train(site, tmp_path):
    flags = parse_flags(run_words(site, tmp_path / "runs"))
    plan = plan_of(
        flags.experiment, load_inputs(flags.experiment, flags.flows, flags.macro_weights)
    )
    names = [fold.name for fold in plan.folds[:4]]
    view = FoldView.of(plan.dataset, plan.fold(names[0]), torch.device("cpu"))
    with busy_neighbours(plan.config, [view], plan.teacher, 1):
        [other] = multiprocessing.active_children()
        assert other.is_alive()
    assert not other.is_alive()
    assert other.exitcode == 0
    cost = measure_cost(plan, names, WorkOptions(tmp_path / "runs", stack=2), workers=2)
    assert len(cost.fold_s) == 4
    assert min(cost.fold_s) > 0
    assert not multiprocessing.active_children()
