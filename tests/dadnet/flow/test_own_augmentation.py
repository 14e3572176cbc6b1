"""A user's augmentation: its draws, and what it must return."""

import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.base.seeding import generator
from dadnet.flow.own_augmentation import OwnAugmentation, check_own_augmentation


def code_of(body):
    text = f"import torch\nSTATE = []\ndef change(flows, generator):\n    {body}\n"
    return OwnCode("turn.py", "change", (("turn.py", text),))


def augmented(body, step=1):
    augment = OwnAugmentation(code_of(body))
    source = generator("augment", step)
    return augment.apply(torch.ones(2, 2, 4, 4), augment.draw(2, source))


@pytest.mark.parametrize(
    "body",
    ["return flows * torch.rand(1, generator=generator)", "return flows + torch.rand_like(flows)"],
)
def test_its_draws_follow_from_the_step_whichever_generator_it_takes(body):
    assert torch.equal(augmented(body), augmented(body))
    assert not torch.equal(augmented(body), augmented(body, step=2))


def test_it_cannot_change_the_flows_of_the_store():
    flows = torch.ones(2, 2, 4, 4)
    augment = OwnAugmentation(code_of("return flows.mul_(3)"))
    assert augment.apply(flows, augment.draw(2, generator("a"))).max() == 3
    assert flows.max() == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return flows[:, :1]", r"expected flows of shape \(3, 2, 8, 8\), got \(3, 1, 8, 8\)"),
        ("return None", "got NoneType"),
        ("return flows / 0", "expected finite flows, got NaN or infinity"),
        ("return flows.nothing()", "turn.py line 4: AttributeError"),
        ("STATE.append(1); return flows + len(STATE)", "the same flows for the same generator"),
    ],
)
def test_what_is_wrong_with_it_is_said(body, expected):
    with pytest.raises(DadnetError, match=expected):
        check_own_augmentation(code_of(body), 8)
