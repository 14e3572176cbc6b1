import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, ModelConfig
from dadnet.training.build import build_model
from dadnet.training.teacher import Teacher
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
