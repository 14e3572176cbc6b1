"""Flows in memory as a store."""

import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow.store import load_flow_store
from orchestration.flows.arrays import store_arrays

FLOWS = np.random.default_rng(0).normal(size=(4, 2, 8, 8))
LABELS = ["happiness", "surprise", "disgust", "happiness"]


def test_every_flow_keeps_its_label_and_subject(tmp_path):
    folder = store_arrays(FLOWS, LABELS, ["b", "a", "b", "a"], "mine", tmp_path)
    store = load_flow_store(folder)
    assert list(store.clips["clip_id"]) == [
        "mine/a/clip0000", "mine/a/clip0001", "mine/b/clip0000", "mine/b/clip0001",
    ]  # fmt: skip
    assert list(store.clips["emotion"]) == ["surprise", "happiness", "happiness", "disgust"]
    assert np.array_equal(store.flows, FLOWS[[1, 3, 0, 2]].astype(np.float16))


def test_the_same_flows_are_written_once_and_others_elsewhere(tmp_path):
    folder = store_arrays(FLOWS, LABELS, list("abab"), "mine", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert store_arrays(FLOWS, LABELS, list("abab"), "mine", tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert store_arrays(FLOWS, LABELS[::-1], list("abab"), "mine", tmp_path) != folder


@pytest.mark.parametrize(
    ("flows", "labels", "subjects", "message"),
    [
        (FLOWS[:, :1], LABELS, list("abab"), "expected numbers of shape .N, 2, H, W., got float64"),
        (FLOWS, LABELS[:3], list("abab"), "as many labels and subjects as flows .4., got 3 and 4"),
        (np.where(FLOWS[2, 0, 0, 0] == FLOWS, np.nan, FLOWS), LABELS, list("abab"), "not so in 2"),
        (FLOWS * 1e6, LABELS, list("abab"), "finite numbers up to 65504"),
        (FLOWS, LABELS, ["a/b", "a", "b", "c"], "subjects: expected names without '/'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, flows, labels, subjects, message
):
    with pytest.raises(DadnetError, match=message):
        store_arrays(flows, labels, subjects, "mine", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_dataset_is_no_path(tmp_path):
    with pytest.raises(DadnetError, match="dataset: expected a name without '/'"):
        store_arrays(FLOWS, LABELS, list("abab"), "../mine", tmp_path)
