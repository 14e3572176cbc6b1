import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import LossConfig
from dadnet.models import classification_loss, dad_net_loss, draw_directions, get_dad_net, gswd
from dadnet.models.dad_net import DADNetOutput
from dadnet.models.loss import StackedOutput, fold_losses


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
