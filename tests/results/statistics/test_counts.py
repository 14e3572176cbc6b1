"""Counts of clips, labels, confidence bins and subsets, by hand."""

import numpy as np
import pytest

from results.ledger.records import Prediction
from results.statistics.counts import NUM_BINS, UNIT, Counts, by_subset, count, subset_of
from results.statistics.summary import calibration_error, fold_averaged, summarise
from results.statistics.tallies import read_tallies

LABELS = ("AU1", "AU4", "AU12")


def clip(name, subject, label, prediction, probabilities=None, part=""):
    return Prediction(name, subject, part, label, prediction, probabilities)


def test_three_labels_of_two_subjects():
    rows = [
        clip("1", "b", ("AU1",), ("AU1", "AU4"), (0.75, 0.5, 0.25)),
        clip("2", "a", (), ("AU12",), (0.25, 0.25, 1.0)),
        clip("3", "b", ("AU4", "AU12"), ("AU12",), (0.5, 0.25, 0.75)),
    ]
    found = count(rows, LABELS)
    assert found.subjects == ("a", "b")
    assert found.confusions.dtype == np.int64
    assert found.confusions[0].tolist() == [[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 1], [0, 0]]]
    assert found.confusions[1].tolist() == [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, 1]]]
    assert found.num_clips.tolist() == [1, 2]
    assert found.num_decisions.tolist() == [3, 6]
    assert found.num_right.tolist() == [2, 4]
    floor = float(np.finfo(np.float32).eps)
    # Of the truth, clip 1 has 0.75, 0.5 and 0.75, clip 3 has 0.5, 0.25 and 0.75.
    nats = [-2 * np.log(0.75) - np.log(floor), -3 * np.log(0.75) - 2 * np.log(0.5) - np.log(0.25)]
    np.testing.assert_allclose(found.nats * UNIT, nats, atol=3 * UNIT)
    # Confidence of the decisions: 0.5 twice (one right), 0.75 six times (five right), 1 (wrong).
    clips, right, confidence = found.bins.T
    assert clips[[int(0.5 * NUM_BINS), int(0.75 * NUM_BINS), NUM_BINS - 1]].tolist() == [2, 6, 1]
    assert right[[int(0.5 * NUM_BINS), int(0.75 * NUM_BINS), NUM_BINS - 1]].tolist() == [1, 5, 0]
    assert clips.sum() == 9
    assert confidence.sum() * UNIT == pytest.approx(2 * 0.5 + 6 * 0.75 + 1, abs=9 * UNIT)
    expected = (abs(1 - 2 * 0.5) + abs(5 - 6 * 0.75) + 1) / 9
    assert calibration_error(found) == pytest.approx(expected, abs=UNIT)
    assert summarise(found).ece == calibration_error(found)
    assert count([clip("1", "b", ("AU1",), ())], LABELS).bins is None


def test_a_clip_without_probabilities_leaves_all_without_a_loss():
    sure = clip("1", "a", "x", "x", (1, 0))  # whole numbers
    found = count([sure, clip("2", "a", "y", "x", (1, 0))], ("x", "y"))
    floor = float(np.finfo(np.float32).eps)
    assert found.nats[0] * UNIT == pytest.approx(-np.log(floor), abs=UNIT)
    assert found.bins[-1, :2].tolist() == [2, 1]
    without = count([sure, clip("2", "a", "y", "x")], ("x", "y"))
    assert (without.nats, without.bins) == (None, None)
    assert without.confusions.tolist() == [[[1, 0], [1, 0]]]


def test_the_same_clips_are_equally_many_of_each_class_of_each_subject():
    stack = np.array([[[2, 1], [0, 1]], [[1, 0], [0, 1]]])
    one = Counts(("a", "b"), stack, None, None)
    assert one.same_clips(Counts(("a", "b"), stack[:, :, ::-1], None, None))
    assert not one.same_clips(Counts(("a", "b"), stack[:, ::-1], None, None))
    assert not one.same_clips(Counts(("a", "c"), stack, None, None))


ROWS = [
    clip("1", "samm/b", "x", "x", part="testB"),
    clip("2", "casme2/a", "y", "x", part="testA"),
    clip("3", "samm/c", "x", "x", part="testA"),
]


def test_subsets_are_datasets_of_a_composite_and_parts_of_an_official_test():
    names = {"cde": "samm", "cross-dataset": "samm", "official": "testB", "loso": ""}
    assert {protocol: subset_of(protocol, ROWS[0]) for protocol in names} == names
    assert subset_of("cde", clip("1", "plain", "x", "x")) == ""
    subjects = [row.subject for row in ROWS]
    for protocol in ("cde", "cross-dataset"):
        found = by_subset(protocol, ROWS, subjects)
        assert list(found.items()) == [("casme2", [ROWS[1]]), ("samm", [ROWS[0], ROWS[2]])]
        assert by_subset(protocol, ROWS[::2], subjects[::2]) == {}
    found = by_subset("official", ROWS, subjects)
    assert list(found.items()) == [("testA", ROWS[1:]), ("testB", ROWS[:1])]
    assert by_subset("official", ROWS[1:], subjects[1:]) == {}
    assert by_subset("loso", ROWS, subjects) == {}


def test_the_tallies_of_a_composite_are_those_of_its_clips_and_of_each_dataset(ledger, fill):
    table = {"samm/a": ["n>n", "p>s"], "samm/b": ["s>s"], "smic/c": ["p>p", "n>p"]}
    [whole] = read_tallies(ledger, [fill(table, dataset="samm+smic", protocol="cde")])
    letters = {"n": "negative", "p": "positive", "s": "surprise"}
    truth = {
        f"{name}/clip{k}": letters[text[0]]
        for name, clips in table.items()
        for k, text in enumerate(clips)
    }
    assert (whole.num_done, whole.truth) == (3, truth)
    assert whole.summary == summarise(whole.counts)
    assert list(whole.subsets) == ["samm", "smic"]
    for name, subset in whole.subsets.items():
        assert subset.truth == {k: v for k, v in truth.items() if k.startswith(name)}
        assert subset.counts.subjects == tuple(s for s in table if s.startswith(name))
        assert subset.summary == summarise(subset.counts)
    assert whole.summary.confusion == ((1, 1, 0), (0, 1, 1), (0, 0, 1))
    assert sum(whole.versions.values()) == 3


def test_the_mean_of_the_subjects_own_figures_by_hand():
    # Subject 0: F1 2/3 and 0, the third class nowhere. Subject 1: 1, the others nowhere.
    stack = np.zeros((2, 3, 3), dtype=np.int64)
    stack[0, 0, 0] = stack[0, 1, 0] = stack[1, 2, 2] = 1
    assert fold_averaged(stack) == pytest.approx(((1 / 3 + 1) / 2, (2 / 9 + 1 / 3) / 2))
    assert fold_averaged(np.zeros((2, 3, 2, 2), dtype=np.int64)) == (0, 0)
