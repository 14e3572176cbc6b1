"""What scores or inspects on a GPU, counted on torch's `meta` device: no copy but the result."""

import numpy as np
import pytest
import torch

from dadnet.flow.corrupted_inputs import corrupted_inputs
from dadnet.flow.corruptions import Corruption
from dadnet.inference.explain import inspect_network
from dadnet.inference.predictor import Predictor
from dadnet.inference.score import pooled_features, score, score_inputs
from dadnet.labels.tasks import SINGLE_LABEL
from tests.build.devices import META, Count
from tests.build.models import backbone, make_model, two_streams

CLIPS = 100  # more than one batch
STATISTICS = (torch.zeros(2, 1, 1), torch.ones(2, 1, 1))


def on_device(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=torch.half, device=META)


@pytest.mark.parametrize("function", [score, pooled_features])
@pytest.mark.parametrize("statistics", [None, STATISTICS])
def test_scoring_copies_its_result_and_nothing_else(function, statistics):
    network, flows = two_streams(1).to(META), on_device(CLIPS, 2, 32, 32)
    kept = None if statistics is None else tuple(part.to(META) for part in statistics)
    task = {"task": SINGLE_LABEL} if function is score else {}
    with Count() as count:
        found = function(network, flows, kept, **task)
    assert len(found) == CLIPS
    assert count.copies == {"to the host": 1}


def test_a_prediction_uploads_its_clips_and_copies_its_result():
    predictor = Predictor([make_model()], "meta")
    flows = [np.ones((2, 32, 32), np.float32)] * CLIPS
    with Count() as count:
        found = predictor.probabilities(flows)
    assert found.shape == (CLIPS, 3)
    assert count.copies == {"_to_copy": 1, "to the host": 1}


def test_corrupted_clips_are_uploaded_in_batches():
    flows = torch.zeros(CLIPS, 2, 32, 32, dtype=torch.half)
    names = [f"c{n}" for n in range(CLIPS)]
    inputs = corrupted_inputs(flows, names, Corruption("noise", 1), None)
    network = backbone(1).to(META)
    with Count() as count:
        batches = (part.to(META) for part in inputs.split(50))
        score_inputs(network, batches, task=SINGLE_LABEL)
    assert count.copies == {"_to_copy": 2, "to the host": 1}


def test_an_inspection_copies_each_of_its_values_once():
    network = backbone(1).to(META)
    with Count() as count:
        seen = inspect_network(network, torch.empty(CLIPS, 2, 32, 32, device=META))
    values = [seen.theta, *seen.channels, *seen.maps]
    assert {len(value) for value in values} == {CLIPS}
    assert count.copies == {"to the host": len(values) + seen.shares.shape[1]}
