import dataclasses

import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.experiment import (
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    experiment_digest,
)
from dadnet.folds.view import FoldView
from dadnet.models.precision import check_precision, matrix_units
from dadnet.training.build import build_model
from dadnet.training.fold_stack import FoldStack
from dadnet.training.one_fold import OneFold
from dadnet.training.teacher import Teacher

CPU = torch.device("cpu")
SIZE = 64
SETTINGS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


def config(precision="float32", augmentation="reference-v1") -> ExperimentConfig:
    return ExperimentConfig(
        model=ModelConfig(micro_size="nano", macro_size="ultralight", input_size=SIZE),
        loss=LossConfig(num_projections=16),
        optim=OptimConfig(batch_size=8, lr=1e-3, augmentation=augmentation, precision=precision),
    )


def teacher() -> Teacher:
    model = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=SIZE)
    network = build_model(ExperimentConfig(model=model), 3, None, generator("t"))
    return Teacher(network.state_dict(), model, ("a", "b", "c"), (), "d", "m", {})


def fold(made: ExperimentConfig, name="f0", data="precision") -> OneFold:
    flows = torch.randn(24, 2, SIZE, SIZE, generator=generator("flows")).half()
    rows = torch.arange(24)
    found = OneFold(made, FoldView(name, flows, rows % 3, rows, rows[:0], 3, data), teacher(), CPU)
    found.model.train()
    return found


def gradient(of) -> torch.Tensor:
    return torch.cat([p.grad.flatten().double() for p in of if p.grad is not None])


def single_gradient(precision, augmentation, part) -> torch.Tensor:
    made = fold(config(precision, augmentation))
    made.training_step(torch.arange(8))
    return gradient(p for name, p in made.model.named_parameters() if part in name)


# The largest gradients would hide the others, so each part is compared alone.
@pytest.mark.parametrize("part", ["loc", "stages.0", "stages.3", "attention", "head", "adapters"])
@pytest.mark.parametrize("augmentation", ["reference-v1", "none"])
def test_the_gradient_in_bf16_points_where_the_exact_one_does(augmentation, part):
    exact, half = (single_gradient(p, augmentation, part) for p in ("float32", "bf16"))
    assert not torch.equal(exact, half)
    assert torch.cosine_similarity(exact, half, dim=0) > 0.98


def test_a_stack_in_bf16_has_the_gradients_of_its_folds():
    stack = FoldStack([fold(config("bf16"), name) for name in ("f0", "f1")])
    stack.stack.train()
    stack.training_step([0, 1], [torch.arange(8)] * 2)
    of_first = gradient(p for _, p in sorted(stack.stack.parameters.items())).isfinite()
    assert of_first.all()
    for k, name in enumerate(("f0", "f1")):
        alone = fold(config("bf16"), name)
        alone.training_step(torch.arange(8))
        single = {n: p.grad for n, p in alone.model.named_parameters() if p.grad is not None}
        names = stack.stack.layouts[k].names
        mine = torch.cat(
            [stack.stack.parameters[names[n]].grad[k].flatten() for n in sorted(single)]
        )
        theirs = torch.cat([single[n].flatten() for n in sorted(single)])
        assert torch.cosine_similarity(mine, theirs, dim=0) > 0.98


@pytest.mark.parametrize("dual", [True, False])
def test_loss_statistics_and_scores_stay_float32(dual):
    made = config("bf16")
    if not dual:
        model = dataclasses.replace(made.model, model_type="baseline")
        made = dataclasses.replace(made, model=model)
    one = fold(made)
    loss = one.training_step(torch.arange(8))
    assert loss.total.dtype == loss.alignment.dtype == torch.float32
    assert all(v.dtype in (torch.float32, torch.int64) for v in one.model.state_dict().values())


def test_tf32_needs_a_gpu_and_says_so():
    with pytest.raises(DadnetError, match="precision: expected float32 or bf16 on a cpu, got tf32"):
        fold(config("tf32"))
    check_precision("tf32", torch.device("cuda"))


def test_the_matrix_units_are_as_before_after_a_step_even_a_broken_one():
    before = [s.fp32_precision for s in SETTINGS]
    with matrix_units("tf32"):
        assert [s.fp32_precision for s in SETTINGS] == ["tf32", "tf32"]
        with matrix_units("float32"):
            assert [s.fp32_precision for s in SETTINGS] == ["ieee", "ieee"]
        assert [s.fp32_precision for s in SETTINGS] == ["tf32", "tf32"]
    with pytest.raises(KeyError), matrix_units("tf32"):
        raise KeyError
    assert [s.fp32_precision for s in SETTINGS] == before


def test_float32_leaves_the_digest_as_it_was_and_the_others_change_it():
    digests = {p: experiment_digest(config(p), "d", "t") for p in ("float32", "tf32", "bf16")}
    assert len(set(digests.values())) == 3
    assert experiment_digest(ExperimentConfig(), "d", "t") == "f7cd0cdea4804385"
