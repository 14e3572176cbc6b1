import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, ModelConfig, OptimConfig
from dadnet.folds.view import FoldView
from dadnet.inference.model_file import load_model_file
from dadnet.training.build import build_model
from dadnet.training.kinds import new_stack
from dadnet.training.one_fold import OneFold
from dadnet.training.teacher import Teacher
from dadnet.training.train_teacher import BalancedFold
from tests.build.devices import META, Count
from tests.build.models import make_teacher

SMALL = ModelConfig(micro_size="ultralight", macro_size="ultralight", input_size=32)


def test_a_teacher_comes_back_from_its_file(tmp_path):
    teacher = make_teacher()
    teacher.save(tmp_path / "t.safetensors")
    back = Teacher.load(tmp_path / "t.safetensors")
    assert back.digest == teacher.digest
    assert (back.model, back.classes, back.subjects) == (
        teacher.model,
        teacher.classes,
        teacher.subjects,
    )


def test_weights_without_a_card_are_refused(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(DadnetError, match="has no card"):
        Teacher.load(tmp_path / "w.safetensors")


def test_a_teacher_of_flows_normalised_by_its_clips_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    make_teacher().save(path)
    model = load_model_file(path)
    statistics = ((0.0, 0.0), (1.0, 1.0))
    card = dataclasses.replace(model.card, normalisation="fit", statistics=statistics)
    dataclasses.replace(model, card=card).save(path)
    with pytest.raises(DadnetError, match="needs flows normalised by its fit clips"):
        Teacher.load(path)


def test_a_teacher_of_another_size_is_refused():
    config = ExperimentConfig(model=dataclasses.replace(SMALL, macro_size="base"))
    with pytest.raises(DadnetError, match="macro_size base, the teacher ultralight"):
        build_model(config, 3, make_teacher(), generator("init"))


def test_a_teacher_of_another_input_size_is_refused():
    config = ExperimentConfig(model=dataclasses.replace(SMALL, input_size=56))
    with pytest.raises(DadnetError, match="input_size 56, the teacher 32"):
        build_model(config, 3, make_teacher(), generator("init"))


def test_a_dad_net_without_a_teacher_is_refused():
    with pytest.raises(DadnetError, match="expected a teacher"):
        build_model(ExperimentConfig(model=SMALL), 3, None, generator("init"))


@pytest.mark.parametrize("kind", [BalancedFold, OneFold])
def test_an_epoch_of_a_teacher_on_a_gpu_has_at_most_four_copies(kind):
    rows, flows = torch.arange(64), torch.empty(64, 2, 32, 32, dtype=torch.half, device=META)
    view = FoldView("teacher", flows, rows % 3, rows[:48], rows[48:60], 3, "x")
    model = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=32)
    optim = OptimConfig(batch_size=8, augmentation="reference-v1")
    stack = new_stack([kind(ExperimentConfig(model=model, optim=optim), view, None, META)])
    with Count():
        stack.train_epoch()  # fills the caches
    with Count() as count:
        stack.train_epoch()
        stack.val_probabilities()
    assert sum(count.copies.values()) <= 4, count.copies
