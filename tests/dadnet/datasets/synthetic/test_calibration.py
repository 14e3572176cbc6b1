"""What a simple model learns from the synthetic set: where the face moves, not just directions."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from dadnet.datasets.official.registry import read_dataset
from dadnet.datasets.synthetic.__main__ import write_dataset
from dadnet.datasets.synthetic.plan import Parameters
from dadnet.flow.compute import compute_flow, decode_image, resize_flow, square
from dadnet.labels.class_sets import get_class_set
from dadnet.labels.metrics import confusion, uf1


@pytest.fixture(scope="module")
def calibration_set(tmp_path_factory) -> tuple[npt.NDArray[np.float32], pd.DataFrame]:
    """Flows (N, 2, 56, 56) and clips (label, shuffled) of the default set."""
    folder = tmp_path_factory.mktemp("calibration")
    write_dataset(folder / "true", Parameters())
    # The frames are never looked at: the labels do not depend on their size.
    write_dataset(folder / "shuffled", Parameters(shuffle_labels=True, image_size=32))
    clips = read_dataset("synthetic", folder / "true").clips
    chosen = get_class_set("3class", "synthetic")
    clips["label"] = clips["emotion"].map(chosen.label)
    shuffled = read_dataset("synthetic", folder / "shuffled").clips.set_index("clip_id")["emotion"]
    clips["shuffled"] = clips["clip_id"].map(shuffled).map(chosen.label)
    clips = clips[clips["label"].notna()].reset_index(drop=True)
    pairs = zip(clips["onset_path"], clips["apex_path"], strict=True)
    images = [[square(decode_image(path), 224, None) for path in pair] for pair in pairs]
    flows = [resize_flow(compute_flow(onset, apex, "dis"), 56) for onset, apex in images]
    stacked = np.stack(flows)
    stacked -= stacked.mean(axis=(2, 3), keepdims=True)
    return stacked / stacked.std(axis=(2, 3), keepdims=True), clips


def directions_histogram(flows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Share of the motion in each of 8 directions, shape (N, 8)."""
    angle = np.arctan2(flows[:, 1], flows[:, 0])
    sector = np.floor((angle + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    length = np.hypot(flows[:, 0], flows[:, 1])
    bins = np.stack([(length * (sector == k)).sum(axis=(1, 2)) for k in range(8)], axis=1)
    return bins / bins.sum(axis=1, keepdims=True)


def spatial(flows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over a grid of 14 x 14, shape (N, 392)."""
    return flows.reshape(-1, 2, 14, 4, 14, 4).mean(axis=(3, 5)).reshape(len(flows), -1)


def loso_uf1(features: npt.NDArray[np.float32], labels: pd.Series, subjects: pd.Series) -> float:
    """Pooled UF1 of a logistic regression over leave-one-subject-out folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = get_class_set("3class", "synthetic").classes
    truth = np.array([classes.index(label) for label in labels])
    penalty = 0.01 if features.shape[1] > 8 else 1.0
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000)
    )
    found = cross_val_predict(model, features, truth, groups=subjects, cv=LeaveOneGroupOut())
    return uf1(confusion(truth, found, len(classes)))


@pytest.mark.slow
def test_histogram_of_flow_directions_does_worse_than_a_spatial_model(calibration_set):
    flows, clips = calibration_set
    histogram = loso_uf1(directions_histogram(flows), clips["label"], clips["subject"])
    grid = loso_uf1(spatial(flows), clips["label"], clips["subject"])
    assert grid > 0.65
    assert histogram < grid - 0.25


@pytest.mark.slow
def test_shuffled_labels_stay_at_chance(calibration_set):
    flows, clips = calibration_set
    assert loso_uf1(spatial(flows), clips["shuffled"], clips["subject"]) < 0.45
