import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.models import (
    DADNet,
    dad_net_loss,
    get_dad_net,
    get_microflownext,
    save_weights,
    weights_digest,
)

SIZE = 32


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flows(num: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(num, 2, SIZE, SIZE, generator=seeded(seed))


def build(stages: tuple[int, ...] = (1, 2), weight: float = 0.5, macro: str = "nano") -> DADNet:
    return get_dad_net(
        3,
        "ultralight",
        macro,
        stages,
        alignment_weight=weight,
        input_size=SIZE,
        drop_path_rate=0.1,
        allow_random_teacher=True,
        generator=seeded(0),
    )


class TestFrozenTeacher:
    def test_stays_as_it_was_through_train_forward_backward_and_step(self) -> None:
        model = build().train()
        before = weights_digest(model.teacher.state_dict())
        student_before = weights_digest(model.student.state_dict())
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
        output = model(flows(), seeded(1))
        dad_net_loss(output, torch.tensor([0, 1, 2, 0]), generator=seeded(2)).total.backward()
        optimiser.step()
        assert weights_digest(model.teacher.state_dict()) == before  # BatchNorm buffers included
        assert weights_digest(model.student.state_dict()) != student_before

    def test_is_in_evaluation_mode_whatever_train_says(self) -> None:
        model = build()
        for mode in (True, False, True):
            model.train(mode)
            assert not any(module.training for module in model.teacher.modules())
            assert all(module.training is mode for module in model.student.modules())
            assert all(module.training is mode for module in model.adapters.modules())

    def test_gets_no_gradient(self) -> None:
        model = build().train()
        output = model(flows(), seeded(1))
        dad_net_loss(output, torch.tensor([0, 1, 2, 0]), generator=seeded(2)).total.backward()
        assert not any(p.requires_grad for p in model.teacher.parameters())
        assert all(p.grad is None for p in model.teacher.parameters())
        trained = [*model.student.named_parameters(), *model.adapters.named_parameters()]
        assert [name for name, p in trained if p.grad is None] == []

    @pytest.mark.parametrize(("stages", "weight"), [((1, 2), 0.0), ((), 0.5)])
    def test_is_not_run_where_it_has_no_use(
        self, stages: tuple[int, ...], weight: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = build(stages, weight).eval()

        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("the teacher was run")

        monkeypatch.setattr(model.teacher, "stage_features", forbidden)
        output = model(flows())
        assert output.student_features == output.teacher_features == {}
        assert torch.equal(output.logits, model.student(flows()).logits)


class TestForward:
    def test_gives_the_aligned_stages_in_the_students_shapes(self) -> None:
        model = build((0, 2, 3)).eval()
        output = model(flows())
        features = model.student(flows()).features
        assert list(output.student_features) == list(output.teacher_features) == [0, 2, 3]
        for stage in (0, 2, 3):
            assert torch.equal(output.student_features[stage], features[stage])
            assert output.teacher_features[stage].shape == features[stage].shape

    def test_the_teacher_reads_the_same_input(self) -> None:
        model = build((0,), macro="ultralight").eval()  # equal widths: no adapter in between
        output = model(flows())
        theirs = model.teacher(flows()).features[0]
        assert torch.equal(output.teacher_features[0], theirs)

    def test_teacher_maps_may_be_computed_beforehand(self) -> None:
        model = build().eval()
        maps = model.run_teacher(flows())
        assert not any(m.requires_grad for m in maps.values())
        first, second = model(flows()), model(flows(), teacher_maps=maps)
        for stage in (1, 2):
            assert torch.equal(first.teacher_features[stage], second.teacher_features[stage])

    def test_predict_of_a_batch_equals_predict_one_by_one(self) -> None:
        model, x = build().double().eval(), flows(5).double()
        together = model(x).logits
        alone = torch.cat([model(x[row : row + 1]).logits for row in range(5)])
        torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)

    def test_a_training_step_is_a_function_of_the_generator(self) -> None:
        model = build().train()
        first, again = (model(flows(), seeded(5)).logits for _ in range(2))
        assert torch.equal(first, again)


class TestAdapters:
    def test_stand_only_where_widths_differ_at_aligned_stages(self) -> None:
        # student 24, 48, 64, 128; teacher 48, 96, 192, 384
        widths = [
            (a.conv.in_channels, a.conv.out_channels) for a in build((1, 3), macro="micro").adapters
        ]
        assert widths == [(96, 48), (384, 128)]
        assert len(build((0, 1, 2, 3), macro="ultralight").adapters) == 0

    def test_are_a_convolution_without_bias_and_batchnorm(self) -> None:
        (adapter,) = build((2,)).adapters
        assert isinstance(adapter.conv, nn.Conv2d)
        assert adapter.conv.bias is None
        assert adapter.conv.kernel_size == (1, 1)
        assert isinstance(adapter.norm, nn.BatchNorm2d)


class TestBuilding:
    def test_teacher_weights_come_from_the_file(self, tmp_path: Path) -> None:
        # The teacher has other classes, no channel attention and another flow correction.
        teacher = get_microflownext(
            7, "nano", SIZE, "similarity", "pooled", channel_attention=False, generator=seeded(9)
        )
        path = tmp_path / "teacher.safetensors"
        save_weights(path, teacher, {})
        model = get_dad_net(3, "ultralight", "nano", (1, 2), path, input_size=SIZE)
        assert weights_digest(model.teacher.state_dict()) == weights_digest(teacher.state_dict())
        assert model.teacher.num_classes == 7
        assert model.teacher.flow_correction == "similarity"
        assert model.student.flow_correction == "inverse"
        assert torch.equal(model.run_teacher(flows())[2], teacher.eval()(flows()).features[2])

    def test_a_missing_teacher_is_refused_unless_asked_for(self) -> None:
        with pytest.raises(DadnetError, match="macro_weights_path=FILE"):
            get_dad_net(3, "ultralight", "nano", input_size=SIZE)
        assert isinstance(build(), DADNet)

    def test_a_teacher_of_another_size_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "teacher.safetensors"
        save_weights(path, get_microflownext(3, "micro", SIZE), {})
        with pytest.raises(DadnetError, match=r"are missing.*shape \(.*expected \("):
            get_dad_net(3, "ultralight", "nano", macro_weights_path=path, input_size=SIZE)

    def test_the_input_size_is_the_teachers_unless_told(self, tmp_path: Path) -> None:
        path = tmp_path / "teacher.safetensors"
        save_weights(path, get_microflownext(3, "nano", 64), {})
        model = get_dad_net(3, "ultralight", "nano", macro_weights_path=path)
        assert (model.student.input_size, model.teacher.input_size) == (64, 64)
        with pytest.raises(DadnetError, match=r"input_size: expected 64.*teacher.safetensors.*32$"):
            get_dad_net(3, "ultralight", "nano", macro_weights_path=path, input_size=32)

    def test_streams_of_unequal_input_size_are_refused(self) -> None:
        student, teacher = (get_microflownext(3, "nano", size) for size in (32, 64))
        with pytest.raises(DadnetError, match="input size 32, got 64"):
            DADNet(student, teacher)

    @pytest.mark.parametrize("stages", [(-1, 1), (3, 4), (2, 2)])
    def test_stages_are_distinct_and_counted_from_zero_to_three(
        self, stages: tuple[int, ...]
    ) -> None:
        with pytest.raises(DadnetError, match=r"distinct alignment stages of 0, 1, 2, 3; got"):
            build(stages)

    @pytest.mark.parametrize("weight", [-0.1, float("nan")])
    def test_a_negative_weight_is_refused(self, weight: float) -> None:
        with pytest.raises(DadnetError, match=re.escape(f"at least 0, got {weight}")):
            build(weight=weight)

    def test_the_last_two_stages_are_the_default(self) -> None:
        model = get_dad_net(3, "ultralight", "nano", input_size=SIZE, allow_random_teacher=True)
        maps = model.eval()(flows()).student_features
        assert [tuple(m.shape[1:]) for m in maps.values()] == [(64, 2, 2), (128, 1, 1)]

    def test_the_order_of_stages_does_not_matter(self) -> None:
        assert build((2, 1)).alignment_stages == (1, 2)
        assert weights_digest(build((2, 1)).state_dict()) == weights_digest(build().state_dict())
