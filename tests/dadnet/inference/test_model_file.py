"""The model file: what it keeps, and that a damaged or a wrong one is refused in one line."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ModelConfig
from dadnet.inference.model_file import (
    CARD,
    ModelCard,
    TrainedModel,
    build_network,
    load_model_file,
)
from dadnet.models import get_dad_net, weights_digest
from tests.build.models import make_model


@pytest.fixture
def path(tmp_path):
    make_model().save(tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def rewrite(path, change, weights=None) -> None:
    """Write the file again with another card."""
    found = load_model_file(path)
    card = json.loads(dataclasses.replace(found.card).to_json())
    change(card)
    save_file(weights or load_file(path), path, {CARD: json.dumps(card)})


def test_weights_and_card_come_back(tmp_path):
    card = ModelCard(
        kind="fold",
        model=ModelConfig(model_type="baseline", micro_size="nano", input_size=48, head="pooled"),
        classes=("negative", "意外"),
        normalisation="fit",
        statistics=((0.1, -0.2), (1.25, 0.3)),
        subjects=("casme2/sub01", "casme2/sub02"),
        data_digest="d" * 16,
        made_from="e" * 16,
        flow={"method": "tvl1", "size": 112, "crop": None},
        metrics={"val_uf1": 0.5},
        origin={"fold": "casme2/sub03", "num_folds": 3},
    )
    network = build_network(card.model, 2, torch.Generator().manual_seed(1))
    TrainedModel(network.state_dict(), card).save(tmp_path / "w.safetensors")
    back = load_model_file(tmp_path / "w.safetensors")
    digest = weights_digest(network.state_dict())
    assert back.card == dataclasses.replace(card, weights_digest=digest)
    x = torch.randn(2, 2, 48, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(back.network()(x).logits, network.eval()(x).logits, atol=1e-6)


def test_a_model_file_can_teach_and_keeps_its_flow_correction(tmp_path):
    make_model(flow_correction="similarity").save(tmp_path / "w.safetensors")
    model = get_dad_net(
        3, "nano", "ultralight", input_size=32, macro_weights_path=tmp_path / "w.safetensors"
    )
    assert model.teacher.flow_correction == "similarity"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(classes=["a", "b"]), "expected head.bias as torch.float32 (2,)"),
        (lambda card: card.update(classes=["a", "b", "b"]), "different class names"),
        (lambda card: card["model"].update(input_size=64), "expected fc_loc.0.weight"),
        (
            lambda card: card["model"].update(input_size=10**9),
            "input_size: expected at least 32 (the stages halve 4, 2, 2, 2), at most 4096",
        ),
        (lambda card: card["model"].update(micro_size="huge"), "expected one of ultralight"),
        (lambda card: card["model"].update(head="linear"), "attention"),
        (lambda card: card["model"].update(stn=False), "fc_loc"),
        (lambda card: card["model"].update(colour="red"), "damaged"),
        (lambda card: card.update(normalisation="fit"), "expected statistics"),
        (lambda card: card.update(statistics=[[0, 0], [1, 1]]), "expected statistics"),
        (lambda card: card.update(weights_digest="0" * 16), "not those of the card"),
        (lambda card: card.update(schema=2), "newer version"),
        (lambda card: card.update(mood="fine"), "unknown mood"),
        (lambda card: card.update(kind="fish"), "expected one of teacher, fold, converted"),
        (lambda card: card.pop("classes"), "damaged"),
        (lambda card: card.update(classes=7), "damaged"),
    ],
)
def test_a_card_that_does_not_fit_the_weights_is_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(DadnetError) as caught:
        load_model_file(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_were_changed_are_refused(path):
    weights = load_file(path)
    weights["head.bias"] += 1
    rewrite(path, lambda card: None, weights)
    with pytest.raises(DadnetError, match="not those of the card"):
        load_model_file(path)


def test_weights_that_are_not_finite_are_refused(path):
    weights = load_file(path)
    weights["head.bias"][0] = torch.nan
    rewrite(path, lambda card: card.update(weights_digest=weights_digest(weights)), weights)
    with pytest.raises(DadnetError, match="not finite"):
        load_model_file(path)


def test_a_file_of_ours_without_a_card_is_refused(path):
    save_file(load_file(path), path)
    with pytest.raises(DadnetError, match="has no card"):
        load_model_file(path)


def test_a_card_that_is_no_json_is_refused(path):
    save_file(load_file(path), path, {CARD: "{"})
    with pytest.raises(DadnetError, match="damaged"):
        load_model_file(path)


def test_damaged_bytes_are_refused_wherever_they_are(path):
    whole = path.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    draws = np.random.default_rng(0)
    places = [*draws.integers(0, 8 + header, 20), *draws.integers(8 + header, len(whole), 20)]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(DadnetError) as caught:
            load_model_file(path)
        assert "\n" not in str(caught.value)
        refused += 1
    assert refused == 40
    for length in (0, 4, 8, 100, header, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DadnetError):
            load_model_file(path)
