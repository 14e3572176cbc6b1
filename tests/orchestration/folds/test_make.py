import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from dadnet.base.digests import source_digest
from orchestration import run_loso
from orchestration.folds import make as work
from orchestration.folds.flags import parse_flags
from orchestration.folds.here import LocalQueue, make_folds_here
from orchestration.folds.make import make_folds, with_measured_stack
from orchestration.folds.options import WorkOptions
from orchestration.folds.plan import load_inputs, plan_of
from orchestration.folds.worker_queue import LeaseLostError
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from tests.build.runs import ledger_content, run_words


@pytest.fixture
def plan(site, tmp_path):
    flags = parse_flags(run_words(site, tmp_path / "runs"))
    return plan_of(
        flags.experiment, load_inputs(flags.experiment, flags.flows, flags.macro_weights)
    )


def test_a_stack_that_runs_out_of_memory_is_halved_and_goes_on(plan, tmp_path, monkeypatch):
    real, sizes = work.train_folds, []

    def small_device(next_task, size, **options):
        sizes.append(size)
        if size > 2:
            next_task()  # a fold was begun
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(next_task, size, **options)

    monkeypatch.setattr(work, "train_folds", small_device)
    names = tuple(fold.name for fold in plan.folds)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_folds(plan, LocalQueue(names), WorkOptions(tmp_path / "runs", stack=len(names)))
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
        make_folds(plan, LocalQueue((plan.folds[0].name,)), WorkOptions(tmp_path / "runs"))


def test_one_fold_that_breaks_its_stack_costs_its_neighbours_nothing(plan, tmp_path, monkeypatch):
    names, real = tuple(fold.name for fold in plan.folds), work.FoldView.of
    whole = tmp_path / "whole"
    make_folds(plan, LocalQueue(names), WorkOptions(whole, stack=1))

    def poisoned(dataset, fold, device):
        view = real(dataset, fold, device)
        if fold.name == names[1]:
            view.labels[0] = 99  # the loss of its first step raises
        return view

    monkeypatch.setattr(work.FoldView, "of", poisoned)
    events = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_folds_here(
            plan,
            names,
            WorkOptions(tmp_path / "runs", stack=3),
            lambda snapshot: events.extend(snapshot["events"]),
        )
    ledger = Ledger(tmp_path / "runs")
    assert ledger.missing(plan.experiment) == (names[1],)
    failed = [(e["event"], e["fold"]) for e in events if e["event"] in ("returned", "failed")]
    assert failed == [("returned", names[1])] * 2 + [("failed", names[1])]
    assert any("a stack of 3 folds broke (" in str(w.message) for w in caught)
    others = [name for name in names if name != names[1]]
    assert [comparable(ledger.record(plan.experiment, name)) for name in others] == [
        comparable(Ledger(whole).record(plan.experiment, name)) for name in others
    ]


def test_a_lost_lease_is_not_retried_alone(plan, tmp_path, monkeypatch):
    names = tuple(fold.name for fold in plan.folds)
    queue = LocalQueue(names)

    def lost(*_):
        raise LeaseLostError(names[0])

    monkeypatch.setattr(queue, "inform", lost)
    with pytest.raises(LeaseLostError):
        make_folds(plan, queue, WorkOptions(tmp_path / "runs", stack=3))


def test_auto_measures_and_reports_the_size(site, tmp_path, capsys):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--stack", "auto")
    assert run_loso.main(words) == 0
    assert "ms per fold and step by size: 1:" in capsys.readouterr().out
    assert len(ledger_content(tmp_path / "runs")) == 5


def test_on_a_gpu_later_folds_have_the_stack_of_the_first_ones(plan, tmp_path):
    names = tuple(fold.name for fold in plan.folds)
    make_folds(plan, LocalQueue(names[:2]), WorkOptions(tmp_path / "cpu"))
    ledger, lines = Ledger(tmp_path / "gpu"), []
    auto = WorkOptions(ledger.root, stack="auto", device="cuda")
    ledger.open(plan.experiment)
    for name in names[:2]:
        record = Ledger(tmp_path / "cpu").record(plan.experiment, name)
        made = record.replace(host={**record.host, "device": "cuda", "stack": 3})
        ledger.put(plan.experiment, made)
    assert with_measured_stack(plan, names[2:], auto, 3, lines.append).stack == 3
    assert lines.pop() == "stack of 3: the folds that are there were trained in stacks of 3"
    alone = replace(auto, stack=1)
    assert with_measured_stack(plan, names[2:], alone, 3, lines.append).stack == 1
    assert lines.pop().startswith("warning: the folds that are there were trained in stacks of 3")
    on_cpu = replace(alone, device="cpu")
    assert with_measured_stack(plan, names[2:], on_cpu, 3, lines.append).stack == 1
    assert lines == []


class Finished(LocalQueue):
    """Remembers what was finished, in order."""

    def __init__(self, folds) -> None:
        super().__init__(folds)
        self.finished = []

    def finish(self, fold) -> None:
        self.finished.append(fold)
        super().finish(fold)


def test_a_free_slot_is_taken_by_the_next_fold(plan, tmp_path):
    names = tuple(fold.name for fold in plan.folds)
    queue = Finished(names)
    queue.claim("")
    queue.put_back("")  # the first fold is in its second try
    make_folds(plan, queue, WorkOptions(tmp_path / "runs", stack=2))
    assert sorted(queue.finished) == sorted(names)
    records = Ledger(tmp_path / "runs").records(plan.experiment)
    assert {r.fold: (r.host["tries"], r.host["stack"]) for r in records} == {
        name: (2 if name == names[0] else 1, 2) for name in names
    }


def test_a_package_under_another_name_is_left_out_of_the_versions(plan, tmp_path, monkeypatch):
    def installed(name):
        if name in ("dadnet-loso", "opencv-contrib-python"):  # a checkout; a server's OpenCV
            raise work.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(work, "version", installed)
    work._versions.cache_clear()
    name = plan.folds[0].name
    ledger = Ledger(tmp_path / "runs")
    ledger.open(plan.experiment)
    try:
        make_folds(plan, LocalQueue((name,)), WorkOptions(tmp_path / "runs"))
    finally:
        work._versions.cache_clear()
    versions = ledger.records(plan.experiment)[0].host["versions"]
    packages = {"numpy", "opencv-contrib-python-headless", "ray", "torch"}
    assert set(versions) == {"python", "code", *packages}


def test_a_record_has_the_digest_of_the_code_and_of_torch(plan, tmp_path):
    name, root = plan.folds[0].name, Path(work.__file__).parents[2]
    ledger = Ledger(tmp_path / "runs")
    ledger.open(plan.experiment)
    make_folds(plan, LocalQueue((name,)), WorkOptions(tmp_path / "runs"))
    [record] = ledger.records(plan.experiment)
    assert record.host["versions"]["code"] == source_digest(root / "dadnet", version("torch"))


def test_folds_whose_batches_have_equal_sizes_are_made_side_by_side(plan):
    fits = {"a": 16, "b": 13, "c": 16, "d": 15, "e": 13}  # batches 8 8, 7 6, 8 8, 8 7, 7 6

    class Clips:
        def rows(self, subjects):
            return torch.arange(fits[subjects[0]])

    folds = tuple(replace(plan.folds[0], name=name, fit=(name,)) for name in fits)
    config = replace(plan.config, optim=replace(plan.config.optim, batch_size=8))
    unequal = replace(plan, config=config, dataset=Clips(), folds=folds)
    assert unequal.in_order(tuple(fits)) == ("a", "c", "d", "b", "e")
    assert unequal.in_order(("e", "b", "d")) == ("d", "e", "b")
