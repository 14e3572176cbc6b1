"""The queue of a search, in this process."""

import pytest

from orchestration.search.queue import StudyQueue
from orchestration.search.trial import Job

EPOCH = {"epoch": 1, "val_uf1": 0.5}


@pytest.fixture
def queue() -> StudyQueue:
    queue = StudyQueue()
    queue.submit(Job("trial-1", "base", {"lr": 0.1}, "experiment"), ["s1", "s2"])
    queue.submit(Job("trial-2", "base", {"lr": 0.1}, "experiment"), ["s2"])
    return queue


def test_trials_of_one_experiment_share_its_folds_and_see_their_epochs(queue):
    assert queue.plan_values("experiment") == ("base", {"lr": 0.1})
    claim = queue.claim("w", 0)
    assert (claim.name, claim.fold, claim.plan) == ("experiment/s1", "s1", "experiment")
    assert queue.inform("w", claim.name, EPOCH)
    assert queue.state("experiment", "s1", 1) == {"state": "running", "why": "", "epochs": {1: 0.5}}
    queue.finish("w", claim.name)
    assert queue.state("experiment", "s1", 2) == {"state": "done", "why": "", "epochs": {}}
    assert not queue.is_over()


def test_a_fold_that_no_trial_wants_is_given_up_without_a_warning(queue):
    first, second = queue.claim("w", 0), queue.claim("w", 0)
    queue.cancel("trial-1")
    assert not queue.inform("w", first.name, EPOCH)
    assert queue.inform("w", second.name, EPOCH)  # the other trial still wants it
    queue.fail("w", first.name, "left")
    assert list(queue.rows) == [second.name]
    assert [event["event"] for event in queue.events] == ["started", "started"]
    assert not queue.inform("w", first.name, EPOCH)  # it is not in the queue any more


def test_a_closed_queue_is_over_when_its_last_fold_is(queue):
    claim = queue.claim("w", 0)
    queue.close()
    assert not queue.inform("w", claim.name, EPOCH)
    assert queue.claim("w", 0) is None
    assert queue.is_over()


def test_a_fold_that_diverges_has_failed_for_its_trials_and_a_cancelled_one_is_removed(queue):
    first, second = queue.claim("w", 0), queue.claim("w", 0)
    queue.cancel("trial-1")
    queue.diverge("w", first.name, "diverged in epoch 1")
    assert list(queue.rows) == [second.name]
    queue.diverge("w", second.name, "diverged in epoch 2")
    answer = {"state": "failed", "why": "diverged in epoch 2", "epochs": {}}
    assert queue.state("experiment", "s2", 1) == answer
