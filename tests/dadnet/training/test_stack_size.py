from dataclasses import replace

import pytest
import torch

from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.training import stack_size
from dadnet.training.stack.graph import Capture
from dadnet.training.stack_size import StackChoice, choose_stack_size, is_out_of_memory
from tests.build.graphs import RecordingGraphs
from tests.build.models import CPU, config, make_teacher, views


@pytest.fixture
def folds(store):
    return views(MicroExpressionDataset.from_store(load_flow_store(store), "3class", 32), config())


def long(epochs=500):
    """An experiment of which trying any size is a small part."""
    return config(optim=replace(config().optim, epochs=epochs))


def choose(monkeypatch, folds, seconds, at_most=8, epochs=500):
    """The choice where a step of a stack of k folds takes `seconds[k]`."""

    def timed(_, tried, *__):
        if isinstance(seconds[len(tried)], Exception):
            raise seconds[len(tried)]
        return seconds[len(tried)]

    monkeypatch.setattr(stack_size, "_seconds_per_step", timed)
    return choose_stack_size(
        long(epochs), folds * 2, teacher=make_teacher(), device=CPU, at_most=at_most
    )


def test_the_fastest_size_per_fold_is_taken(monkeypatch, folds):
    choice = choose(monkeypatch, folds, {1: 1.0, 4: 2.4, 8: 4.7})
    assert choice.size == 4
    assert choice.seconds == {1: 1.0, 4: 0.6, 8: 4.7 / 8}


def test_a_stack_that_is_slower_is_not_taken(monkeypatch, folds):
    choice = choose(monkeypatch, folds, {1: 1.0, 4: 4.4})
    assert choice.size == 1
    assert "stack of 1 (ms per fold and step by size: 1: 1000.0, 4: 1100.0)" in str(choice)


def test_where_memory_ends_half_the_size_is_tried_last(monkeypatch, folds):
    full = torch.OutOfMemoryError("CUDA out of memory")
    assert choose(monkeypatch, folds, {1: 1.0, 2: 1.2, 4: full}).size == 2
    assert choose(monkeypatch, folds, {1: 1.0, 2: full, 4: full}).size == 1


def test_the_memory_of_a_graph_counts(monkeypatch, folds):
    class Small(Capture):
        """Has room for a graph of two folds."""

        def __call__(self, step, inputs, state):
            self.graphs.fail = torch.OutOfMemoryError("full") if len(inputs.rows) > 2 else None
            return super().__call__(step, inputs, state)

    capture = Small(pytest.fail, RecordingGraphs(), forced=True)
    monkeypatch.setattr(stack_size, "capture_for", lambda mode, device: capture)
    monkeypatch.setattr(stack_size, "_WORTH", 100.0)
    choice = choose_stack_size(
        long(), folds * 2, teacher=make_teacher(), device=CPU, at_most=4, graph="on"
    )
    assert choice.seconds.keys() == {1, 2}


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch, folds):
    with pytest.raises(RuntimeError, match="shapes"):
        choose(monkeypatch, folds, {1: 1.0, 4: RuntimeError("shapes differ")})


def test_no_more_folds_than_asked_for_are_tried(monkeypatch, folds):
    assert choose(monkeypatch, folds, {1: 1.0, 3: 2.4}, at_most=3).seconds.keys() == {1, 3}


def test_a_size_is_not_tried_where_that_would_take_a_good_part_of_the_run(monkeypatch, folds):
    assert choose(monkeypatch, folds, {1: 1.0}, epochs=2).seconds.keys() == {1}


def test_real_steps_are_timed(folds):
    choice = choose_stack_size(long(), folds, teacher=make_teacher(), device=CPU, at_most=2)
    assert choice.seconds.keys() == {1, 2}
    assert all(seconds > 0 for seconds in choice.seconds.values())


def test_both_kinds_of_lack_of_memory_are_known():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as cpu:
        torch.empty(2**50)
    assert is_out_of_memory(cpu.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.parametrize(
    ("best", "folds", "dealt"), [(4, 6, 3), (4, 8, 4), (4, 9, 3), (8, 12, 6), (4, 3, 3), (1, 5, 1)]
)
def test_stacks_are_dealt_evenly(best, folds, dealt):
    assert StackChoice(best, {}).dealt(folds).size == dealt
