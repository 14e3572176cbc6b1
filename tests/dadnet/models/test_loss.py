import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator as generator_of
from dadnet.config.experiment import LossConfig
from dadnet.models import classification_loss, dad_net_loss, draw_directions, get_dad_net, gswd
from dadnet.models.dad_net import DADNetOutput
from dadnet.models.loss import StackedOutput, directions_at, fold_losses


def maps(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class TestLoss:
    labels = torch.tensor([0, 2, 1])

    def output(self) -> DADNetOutput:
        student = {1: maps(0, 3, 4, 2, 2), 3: maps(1, 3, 6, 2, 2)}
        teacher = {1: maps(2, 3, 4, 2, 2), 3: maps(3, 3, 6, 2, 2)}
        return DADNetOutput(maps(4, 3, 3), student, teacher, maps(5, 3, 6), None)

    def test_is_cross_entropy_plus_weighted_mean_over_stages(self) -> None:
        output = self.output()
        directions = {
            s: draw_directions(5, d, torch.Generator(), dtype=torch.float64)
            for s, d in ((1, 4), (3, 6))
        }
        loss = dad_net_loss(output, self.labels, alignment_weight=0.7, directions=directions)
        by_hand = [
            gswd(output.student_features[s], output.teacher_features[s], directions=directions[s])
            for s in (1, 3)
        ]
        cross_entropy = F.cross_entropy(output.logits, self.labels, label_smoothing=0.05)
        assert list(loss.per_stage) == [1, 3]
        torch.testing.assert_close(torch.stack(list(loss.per_stage.values())), torch.stack(by_hand))
        torch.testing.assert_close(loss.cross_entropy, cross_entropy)
        torch.testing.assert_close(loss.alignment, sum(by_hand) / 2)
        torch.testing.assert_close(loss.total, cross_entropy + 0.7 * sum(by_hand) / 2)

    @pytest.mark.parametrize("form", ["tokens", "flat"])
    def test_draws_for_every_stage_from_the_generator(self, form: str) -> None:
        first, again, other = (
            dad_net_loss(
                self.output(),
                self.labels,
                num_projections=6,
                generator=torch.Generator().manual_seed(seed),
                form=form,  # type: ignore[arg-type]
            ).alignment
            for seed in (1, 1, 2)
        )
        assert float(first) == float(again) != float(other)

    def test_without_teacher_features_it_is_cross_entropy(self) -> None:
        output = self.output()._replace(student_features={}, teacher_features={})
        loss = dad_net_loss(output, self.labels, alignment_weight=0.5)
        alone = classification_loss(output.logits, self.labels)
        assert float(loss.total) == float(alone.total) == float(alone.cross_entropy)
        assert float(loss.alignment) == 0
        assert loss.per_stage == {}

    def test_directions_that_lack_a_stage_are_refused(self) -> None:
        directions = {1: draw_directions(5, 4, torch.Generator(), dtype=torch.float64)}
        with pytest.raises(DadnetError, match=r"got stages \[1\], without \[3\]"):
            dad_net_loss(self.output(), self.labels, directions=directions)

    def test_the_default_weights_are_those_of_the_config(self) -> None:
        directions = {
            s: draw_directions(5, d, torch.Generator(), dtype=torch.float64)
            for s, d in ((1, 4), (3, 6))
        }
        loss = dad_net_loss(self.output(), self.labels, directions=directions)
        weighted = loss.cross_entropy + LossConfig().alignment_weight * loss.alignment
        torch.testing.assert_close(loss.total, weighted)
        model = get_dad_net(3, "ultralight", input_size=32, allow_random_teacher=True)
        assert model.alignment_weight == LossConfig().alignment_weight
        assert model.alignment_stages == LossConfig().alignment_stages

    @pytest.mark.parametrize("form", ["tokens", "flat"])
    def test_a_stack_of_one_fold_has_the_loss_of_the_fold(self, form: str) -> None:
        output = self.output()
        directions = {
            s: draw_directions(
                5, d if form == "tokens" else 4 * d, torch.Generator(), dtype=torch.float64
            )
            for s, d in ((1, 4), (3, 6))
        }
        single = dad_net_loss(
            output,
            self.labels,
            alignment_weight=0.7,
            directions=directions,
            form=form,  # type: ignore[arg-type]
        )
        stacked = StackedOutput(
            output.logits[None],
            {s: f[None] for s, f in output.student_features.items()},
            {s: f[None] for s, f in output.teacher_features.items()},
            output.pooled[None],
            None,
            {1: None, 3: None},
        )
        losses = fold_losses(
            stacked,
            self.labels[None],
            torch.tensor([0.7], dtype=torch.float64),
            directions=directions,
            form=form,  # type: ignore[arg-type]
        )
        for stage, value in single.per_stage.items():
            torch.testing.assert_close(losses.per_stage[stage][0], value, rtol=1e-12, atol=0)
        for one, other in zip(losses[:3], single[:3], strict=True):
            torch.testing.assert_close(one[0], other, rtol=1e-12, atol=0)

    def test_folds_with_padding_and_other_stages_have_the_loss_of_each_alone(self) -> None:
        # Fold 0: three clips, stages 1 and 3. Fold 1: two clips and a padding, stage 3 alone.
        logits, labels = maps(6, 2, 3, 3), torch.tensor([[0, 2, 1], [1, 2, 0]])
        student = {1: maps(0, 1, 3, 4, 2, 2), 3: maps(1, 2, 3, 6, 2, 2)}
        teacher = {1: maps(2, 1, 3, 4, 2, 2), 3: maps(3, 2, 3, 6, 2, 2)}
        lines = {s: directions_at(0, 1, s, 5, d).double() for s, d in ((1, 4), (3, 6))}
        smoothing = torch.tensor([0.05, 0.2], dtype=torch.float64)
        weights, pooled = torch.tensor([0.7, 0.3]), maps(5, 2, 3, 6)
        stack = StackedOutput(
            logits, student, teacher, pooled, None, {1: torch.tensor([0]), 3: None}
        )
        valid = torch.tensor([[True] * 3, [True, True, False]])
        losses = fold_losses(
            stack, labels, weights, label_smoothing=smoothing, directions=lines, valid=valid
        )
        alone = [
            DADNetOutput(
                logits[0], {s: student[s][0] for s in (1, 3)},
                {s: teacher[s][0] for s in (1, 3)}, pooled[0], None,
            ),
            DADNetOutput(
                logits[1, :2], {3: student[3][1, :2]}, {3: teacher[3][1, :2]}, pooled[1, :2], None
            ),
        ]  # fmt: skip
        for k, (output, number) in enumerate(zip(alone, (3, 2), strict=True)):
            one = dad_net_loss(
                output,
                labels[k, :number],
                alignment_weight=float(weights[k]),
                label_smoothing=float(smoothing[k]),
                directions=lines,
            )
            for stacked, single in zip(losses[:3], one[:3], strict=True):
                torch.testing.assert_close(stacked[k], single, rtol=1e-12, atol=0)
        assert float(losses.per_stage[1][1]) == 0
        assert losses.total.dtype == torch.float64
        apart = fold_losses(
            stack._replace(teacher_features={}), labels, weights, label_smoothing=smoothing,
            valid=valid,
        )  # fmt: skip
        torch.testing.assert_close(apart.total, losses.cross_entropy)
        assert apart.alignment.tolist() == [0, 0]

    def test_curves_are_total_alignment_and_stages_without_gradient(self) -> None:
        output = self.output()
        output.logits.requires_grad_()
        loss = dad_net_loss(output, self.labels, generator=torch.Generator())
        curves = loss.by_curve()
        assert {name: float(value) for name, value in curves.items()} == {
            "train_loss": loss.total.item(),
            "alignment": loss.alignment.item(),
            "alignment_stage_1": loss.per_stage[1].item(),
            "alignment_stage_3": loss.per_stage[3].item(),
        }
        assert not any(value.requires_grad for value in curves.values())


class TestSteps:
    def test_the_directions_of_a_step_depend_on_seed_step_and_stage(self) -> None:
        expected = draw_directions(5, 4, generator_of("directions", 3, 7, 2))
        assert torch.equal(directions_at(3, 7, 2, 5, 4), expected)
        others = [directions_at(*key, 5, 4) for key in ((4, 7, 2), (3, 8, 2), (3, 7, 1))]
        assert not any(torch.equal(expected, other) for other in others)
