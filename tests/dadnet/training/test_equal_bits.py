"""On a CPU a fold has the same bits in every stack, whoever joins, leaves or interrupts."""

import dataclasses

import pytest
import torch

from dadnet.config.experiment import OptimConfig
from dadnet.training.checkpoint import CheckpointFile
from dadnet.training.loop import FoldTask, StoppedError, train_folds
from tests.build.models import CPU, config, make_teacher
from tests.build.training import assert_same, unequal_folds

FOLDS = 5


@pytest.fixture(autouse=True)
def one_thread():
    """As every worker of a run has; several threads divide sums by what else is in the stack."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SETTINGS = [("dad_net", "reference-v1"), ("dad_net", "hflip"), ("baseline", "hflip")]


def experiment(model, augmentation):
    """Batches of at most 7 clips, which fill no vector register."""
    optim = OptimConfig(epochs=3, batch_size=7, lr=2e-3, warmup_epochs=1, augmentation=augmentation)
    made = config(optim=optim)
    return dataclasses.replace(made, model=dataclasses.replace(made.model, model_type=model))


def lasting(made, epochs):
    return dataclasses.replace(made, optim=dataclasses.replace(made.optim, epochs=epochs))


def trained(made, folds, slots, files=None, stop=lambda: False):
    files = files or [None] * len(folds)
    tasks = (
        FoldTask(lasting(made, 2 + k % 3), view, file)  # so that the next join in between
        for k, (view, file) in enumerate(zip(folds, files, strict=True))
    )
    outcomes = train_folds(
        lambda: next(tasks, None), slots, teacher=make_teacher(), device=CPU, stop=stop
    )
    return {outcome.name: outcome for outcome in outcomes}


@pytest.mark.parametrize(("model", "augmentation"), SETTINGS)
def test_a_fold_has_the_same_bits_in_stacks_of_all_sizes(dataset, model, augmentation):
    made = experiment(model, augmentation)
    folds = unequal_folds(dataset, made, FOLDS)
    alone = trained(made, folds, 1)
    for slots in (2, 3, FOLDS):
        for name, outcome in trained(made, folds, slots).items():
            assert_same(outcome, alone[name])


def test_a_fold_goes_on_in_another_stack_with_the_same_bits(dataset, tmp_path):
    made = experiment("dad_net", "reference-v1")
    folds = unequal_folds(dataset, made, FOLDS)
    files = [CheckpointFile(tmp_path / f"{k}.pt", "e" * 16, v.name) for k, v in enumerate(folds)]
    with pytest.raises(StoppedError):
        trained(made, folds, FOLDS, files, stop=lambda: True)
    alone = trained(made, folds, 1)
    for name, outcome in trained(made, folds, 2, files).items():
        assert_same(outcome, alone[name])
