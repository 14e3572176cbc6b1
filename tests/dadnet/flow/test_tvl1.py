"""TV-L1 in torch against OpenCV's, which is the reference."""

import cv2
import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import IngestFlags
from dadnet.datasets.synthetic.__main__ import write_dataset
from dadnet.datasets.synthetic.plan import Parameters
from dadnet.flow.clip import FlowOptions, read_clip_frames
from dadnet.flow.compute import TVL1_PARAMETERS, compute_flow, tvl1_of_pairs
from dadnet.flow.request import read_index
from dadnet.flow.tvl1 import _median, _resize, _warp, tvl1

NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Onset and apex of the synthetic set, at 64 pixels."""
    root = tmp_path_factory.mktemp("synthetic") / "data"
    write_dataset(root, Parameters(num_subjects=2, num_clips=6))
    clips = read_index(IngestFlags(dataset="synthetic", root=root)).clips
    options = FlowOptions("tvl1", 64, None)
    return [read_clip_frames(row, options)[:2] for row in clips.to_dict("records")]


def test_end_points_are_those_of_opencv(pairs):
    expected = np.stack([compute_flow(*pair) for pair in pairs])
    error = np.linalg.norm(tvl1_of_pairs(pairs) - expected, axis=1)
    assert np.median(error) <= 0.02  # the card promises 0.05
    assert np.median(error) < 0.1 * np.median(np.linalg.norm(expected, axis=1).max(axis=(1, 2)))
    assert np.quantile(error, 0.95) <= 0.05


def test_a_pair_does_not_depend_on_the_others(pairs):
    together = tvl1_of_pairs(pairs[:3])
    for number in range(3):
        alone = tvl1_of_pairs([pairs[number]])[0]
        np.testing.assert_allclose(alone, together[number], atol=1e-3)
    method = compute_flow(*pairs[0], "tvl1-torch")
    np.testing.assert_allclose(method, together[0], atol=1e-3)


def test_a_shift_is_found():
    texture = cv2.GaussianBlur(NOISE.uniform(0, 255, (80, 80)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = torch.from_numpy(texture[None])
    flow = tvl1(frames[:, 8:72, 8:72], frames[:, 8:72, 6:70], TVL1_PARAMETERS)
    inner = flow[0, :, 12:-12, 12:-12]
    assert inner[0].median() == pytest.approx(2.0, abs=0.1)
    assert inner[1].abs().median() < 0.1


def test_its_parts_are_those_of_opencv():
    image = NOISE.uniform(0, 255, (40, 50)).astype(np.float32)
    tensor = torch.from_numpy(image)[None, None]
    np.testing.assert_allclose(
        _resize(tensor, 32, 40)[0, 0].numpy(), cv2.resize(image, (40, 32)), atol=1e-3
    )
    np.testing.assert_allclose(_median(tensor)[0, 0].numpy(), cv2.medianBlur(image, 5))
    shift = NOISE.uniform(-3, 3, (2, 40, 50)).astype(np.float32)
    y, x = np.mgrid[0:40, 0:50].astype(np.float32)
    expected = cv2.remap(image, x + shift[0], y + shift[1], cv2.INTER_CUBIC)
    got = _warp(tensor, torch.from_numpy(shift)[None])[0, 0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-2)


def test_other_schemes_are_refused():
    frames = torch.zeros(1, 32, 32)
    with pytest.raises(DadnetError, match="expected frames of one shape"):
        tvl1(frames, frames[:, :16], TVL1_PARAMETERS)
    with pytest.raises(DadnetError, match="gamma 0, no initial flow"):
        tvl1(frames, frames, {**TVL1_PARAMETERS, "gamma": 0.1})
