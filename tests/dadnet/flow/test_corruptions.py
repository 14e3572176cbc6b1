"""Corruptions: what each kind does, once and again, and that the clean one does nothing."""

import cv2
import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from dadnet.flow.corrupted_inputs import corrupted_inputs
from dadnet.flow.corruptions import KINDS, Corruption, affine_part, corrupt, suite, timing_errors
from dadnet.flow.normalisation import normalise
from tests.build.flows import pattern_flow

SIZE = 48
WITHOUT_FRAMES = tuple(kind for kind, about in KINDS.items() if about.acts_on != "frames")


@pytest.fixture
def flow() -> np.ndarray:
    return pattern_flow("happiness", SIZE, np.random.default_rng(3)).astype(np.float32)


def turned(flow: np.ndarray, kind: str, severity: float, clip: str = "s/sub1/c") -> np.ndarray:
    return corrupt(flow, Corruption(kind, severity), clip)


# Severities; the clean one, the limit, the unit, what it acts on. The first four rows have the
# severities of the public DAD-Net v2, dadnet/data/perturbations.py (its rows start with 0 as well).
PINNED = {
    "noise": (
        (0.1, 0.2, 0.3, 0.4, 0.5), 0.0, 10.0, "standard deviations of the input", "input"
    ),
    "blur": ((0.5, 1.0, 1.5, 2.0, 2.5), 0.0, 100.0, "pixels of the input (sigma)", "flow"),
    "intensity": ((0.8, 0.6, 0.4, 0.2, 0.1), 1.0, 0.0, "share of the input's strength", "input"),
    "downsample": ((0.75, 0.5, 0.375, 0.25, 0.125), 1.0, 0.0, "share of the side", "flow"),
    "jitter": (
        (0.05, 0.1, 0.2, 0.3, 0.4), 0.0, 0.5, "share of the time from onset to apex", "flow"
    ),
    "misalignment": (
        (0.01, 0.02, 0.03, 0.04, 0.05), 0.0, 0.2, "share of the side (landmarks' error)", "flow"
    ),
    "retiming": (
        (0.05, 0.1, 0.2, 0.3, 0.4), 0.0, 0.5, "share of the time from onset to apex", "frames"
    ),
}  # fmt: skip


def test_every_kind_has_its_pinned_severities():
    found = {n: (k.severities, k.clean, k.worst, k.unit, k.acts_on) for n, k in KINDS.items()}
    assert found == PINNED
    assert all(kind.meaning.endswith(".") for kind in KINDS.values())
    assert [c.name for c in suite(("jitter", "blur"))][4:6] == ["jitter-0.4", "blur-0.5"]


@pytest.mark.parametrize("kind", WITHOUT_FRAMES)
def test_a_corrupted_field_is_of_single_precision(kind, flow):
    double = turned(flow.astype(np.float64), kind, KINDS[kind].severities[0])
    assert double.dtype == np.float32


def test_blur_and_downsampling_are_those_of_opencv_channel_by_channel(flow):
    for part, found in zip(flow, turned(flow, "blur", 1.5), strict=True):
        np.testing.assert_array_equal(found, cv2.GaussianBlur(part, (0, 0), 1.5))
    for part, found in zip(flow, turned(flow, "downsample", 0.25), strict=True):
        small = cv2.resize(part, (12, 12), interpolation=cv2.INTER_AREA)
        expected = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(found, expected)


def test_the_suite_is_the_thirty_corruptions_that_need_no_frames():
    assert [c.kind for c in suite()] == [kind for kind in WITHOUT_FRAMES for _ in range(5)]


@pytest.mark.parametrize("kind", WITHOUT_FRAMES)
def test_the_clean_severity_gives_the_very_field_and_others_get_worse(kind, flow):
    assert turned(flow, kind, KINDS[kind].clean) is flow
    apart = [
        float(np.square(turned(flow, kind, s, f"s/sub1/c{c}") - flow).mean())
        for s in KINDS[kind].severities
        for c in range(6)
    ]
    by_severity = np.reshape(apart, (5, 6)).mean(axis=1)
    assert (np.diff(by_severity) > 0).all()
    assert by_severity[0] > 0


@pytest.mark.parametrize("kind", WITHOUT_FRAMES)
def test_a_clip_is_corrupted_alike_in_any_batch(kind, flow):
    flows = torch.from_numpy(np.stack([flow, 2 * flow[:, ::-1].copy(), flow.transpose(0, 2, 1)]))
    names = ["s/a/1", "s/b/1", "s/b/2"]
    corruption = Corruption(kind, KINDS[kind].severities[2])
    together = corrupted_inputs(flows, names, corruption)
    for row in (2, 0):
        alone = corrupted_inputs(flows[row : row + 1], names[row : row + 1], corruption)
        torch.testing.assert_close(alone, together[row : row + 1], rtol=0, atol=0)
    if kind in ("noise", "jitter", "misalignment"):  # drawn by the clip's name
        renamed = corrupted_inputs(flows, ["s/a/9", *names[1:]], corruption)
        assert not torch.equal(renamed[0], together[0])
        assert torch.equal(renamed[1:], together[1:])


def test_noise_has_the_deviation_it_says_on_the_input_of_the_network(flow):
    flows = torch.from_numpy(flow)[None]
    noisy = corrupted_inputs(flows, ["s/a/1"], Corruption("noise", 0.3))
    assert (noisy - normalise(flows)).std().item() == pytest.approx(0.3, rel=0.05)


def test_a_weaker_flow_is_undone_by_the_z_score_so_intensity_acts_behind_it(flow):
    flows = torch.from_numpy(flow)[None]
    torch.testing.assert_close(normalise(0.1 * flows), normalise(flows), rtol=1e-3, atol=1e-3)
    weak = corrupted_inputs(flows, ["s/a/1"], Corruption("intensity", 0.1))
    torch.testing.assert_close(weak, 0.1 * normalise(flows))


def test_jitter_keeps_the_drift_and_takes_of_the_expression():
    line = np.linspace(-1, 1, SIZE)
    y, x = np.meshgrid(line, line, indexing="ij")
    drift = np.stack([0.5 + 0.1 * x - 0.2 * y, -0.3 + 0.2 * x]).astype(np.float32)
    np.testing.assert_allclose(affine_part(drift), drift, atol=1e-5)
    expression = np.stack([np.cos(4 * np.pi * x) * np.cos(4 * np.pi * y)] * 2).astype(np.float32)
    expression -= affine_part(expression)
    # Late onset, late or early apex: (1 - cos(pi t)) / 2 at 0.6 or 1.4, less its value at 0.4.
    left = {
        (0.4, 0.4): (np.cos(0.4 * np.pi), 1.0),
        (0.4, -0.4): (np.cos(0.4 * np.pi), 0.2),
        (-0.4, 0.4): ((1 + np.cos(0.4 * np.pi)) / 2, 1.8),
        (-0.4, -0.4): ((1 + np.cos(0.4 * np.pi)) / 2, 1.0),
    }
    met = set()
    for clip in range(40):
        found = turned(drift + expression, "jitter", 0.4, f"s/a/{clip}")
        draws = np.random.default_rng(seed_hash("corruption", "jitter", f"s/a/{clip}"))
        signs = timing_errors(0.4, draws)  # of onset and apex
        a, b = left[signs]
        np.testing.assert_allclose(found, a * expression + b * drift, atol=1e-4)
        met.add(signs)
    assert met == set(left)


def test_misalignment_moves_the_field_and_turns_its_vectors_with_it():
    """A field that is a vector times a bump: the bump's place and the vector follow one matrix."""
    from dadnet.flow.faces import TEMPLATE, similarity

    size = 96
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    bump = np.exp(-(((x - 50) ** 2 + (y - 40) ** 2) / 60))
    found = turned(np.stack([2 * bump, -bump]), "misalignment", 0.03, "s/a/7")
    draws = np.random.default_rng(seed_hash("corruption", "misalignment", "s/a/7"))
    wrong = TEMPLATE + 0.03 * draws.standard_normal(TEMPLATE.shape)
    matrix = similarity(wrong * (size - 1), TEMPLATE * (size - 1))
    length = np.hypot(*found)
    centre = np.array([(x * length).sum(), (y * length).sum()]) / length.sum()
    np.testing.assert_allclose(centre, matrix @ [50, 40, 1], atol=0.05)
    assert np.hypot(*(centre - [50, 40])) > 0.5
    peak = np.unravel_index(length.argmax(), length.shape)
    along = found[:, peak[0], peak[1]] / length.max()
    expected = matrix[:, :2] @ [2, -1]
    np.testing.assert_allclose(along, expected / np.hypot(*expected), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("fog", 0.5, "expected some of noise, blur"),
        ("noise", -0.1, "from 0 to below 10"),
        ("intensity", 0.0, "from 1 to below 0"),
        ("downsample", 1.5, "share of the side"),
        ("jitter", 0.5, "below 0.5"),
    ],
)
def test_an_invalid_corruption_fails_with_one_line(kind, severity, message):
    with pytest.raises(DadnetError, match=message):
        Corruption(kind, severity)


def test_kinds_are_known_and_named_once():
    with pytest.raises(DadnetError, match="expected different ones of noise"):
        suite(("noise", "fog"))
    with pytest.raises(DadnetError, match="noise, noise"):
        suite(("noise", "noise"))
