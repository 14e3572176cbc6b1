import csv

import numpy as np
import pytest

from dadnet import metrics
from dadnet.errors import DadnetError
from results.stats import NUM_RESAMPLES, subject_confusions, subject_interval, summarise

CLASSES = ("negative", "positive", "surprise")
DIGEST = "0123456789abcdef"
# subject   clips (truth>prediction)        pooled, truth \ prediction   n  p  s    F1
# a         n>n n>n n>p                                              n   3  1  0    6/(4+5) = 2/3
# b         p>p p>n s>s                                              p   1  2  0    4/(3+3) = 2/3
# c         n>n s>n p>p                                              s   1  0  1    2/(2+1) = 2/3
TABLE = {"a": ["n>n", "n>n", "n>p"], "b": ["p>p", "p>n", "s>s"], "c": ["n>n", "s>n", "p>p"]}


@pytest.fixture
def confusions(make_experiment, make_record):
    experiment = make_experiment(TABLE)
    records = [make_record(experiment, fold, clips) for fold, clips in TABLE.items()]
    return subject_confusions(records, CLASSES)


@pytest.fixture
def published(published_log):
    """Return the subjects' counts of the log, read without the package's importer."""
    with published_log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    subjects = sorted({(row["dataset"], row["subject"]) for row in rows})
    stack = np.zeros((len(subjects), 3, 3), dtype=np.int64)
    for row in rows:
        place = subjects.index((row["dataset"], row["subject"]))
        stack[place, CLASSES.index(row["label"]), CLASSES.index(row["prediction"])] += 1
    return stack


def test_counts_of_each_subject_and_pooled_figures_by_hand(confusions):
    assert list(confusions) == ["a", "b", "c"]
    np.testing.assert_array_equal(confusions["b"], [[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    summary = summarise(confusions, DIGEST)
    assert summary.confusion == ((3, 1, 0), (1, 2, 0), (1, 0, 1))
    assert summary.class_f1 == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert summary.uf1.value == pytest.approx(2 / 3)
    assert summary.uar.value == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert summary.accuracy.value == pytest.approx(6 / 9)


def test_pooled_is_not_the_mean_over_subjects(confusions):
    by_subject = [metrics.uf1(counts) for counts in confusions.values()]
    assert summarise(confusions, DIGEST).uf1.value != pytest.approx(np.mean(by_subject))


def test_published_log(published):
    assert published.shape == (68, 3, 3)
    assert published.sum() == 442
    summary = summarise({str(i): counts for i, counts in enumerate(published)}, DIGEST)
    assert summary.uf1.value == pytest.approx(0.7209, abs=5e-5)
    assert summary.uar.value == pytest.approx(0.725, abs=5e-4)
    assert summary.uf1.interval.method == "BCa"
    assert summary.uf1.interval.low == pytest.approx(0.656, abs=8e-3)
    assert summary.uf1.interval.high == pytest.approx(0.777, abs=8e-3)


def test_interval_is_that_of_a_plain_bootstrap_over_subjects(published):
    draw = np.random.default_rng(5)
    chosen = draw.integers(0, 68, size=(NUM_RESAMPLES, 68))
    figures = metrics.batched_uf1(published[chosen].sum(axis=1))
    low, high = np.quantile(figures, [0.025, 0.975])
    assert (low, high) == pytest.approx((0.656, 0.777), abs=4e-3)  # the published figures
    interval = subject_interval(published, metrics.batched_uf1, DIGEST)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)
    # Clips drawn one by one: those of one subject resemble each other, so this is too narrow.
    clips = np.repeat(np.eye(9, dtype=np.int64), published.sum(axis=0).ravel(), axis=0)
    narrow = subject_interval(clips.reshape(-1, 3, 3), metrics.batched_uf1, DIGEST)
    assert narrow.high - narrow.low < interval.high - interval.low


def test_same_digest_same_interval_and_another_digest_another(published):
    first = subject_interval(published, metrics.batched_uf1, DIGEST)
    assert subject_interval(published, metrics.batched_uf1, DIGEST) == first
    assert subject_interval(published, metrics.batched_uf1, DIGEST[::-1]) != first


def test_without_spread_the_interval_is_said_to_be_a_percentile():
    perfect = np.stack([np.diag([2, 1, 1])] * 5)
    interval = subject_interval(perfect, metrics.batched_uf1, DIGEST)
    assert (interval.low, interval.high, interval.method) == (1.0, 1.0, "percentile")


def test_one_subject_has_figures_and_no_interval():
    summary = summarise({"a": np.diag([2, 1, 1])}, DIGEST)
    assert summary.uf1.value == 1.0
    assert summary.uf1.interval.method == "none"
    assert summary.uf1.interval.low is None
    assert summary.uf1.interval.high is None


def test_class_that_never_occurs_has_no_f1():
    counts = {"a": np.diag([2, 1, 0]), "b": np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]])}
    summary = summarise(counts, DIGEST)
    assert summary.class_f1[2] is None
    # truth \ prediction   n  p        F1: 6/(4+4), 4/(3+3)
    #                  n   3  1
    #                  p   1  2
    assert summary.uf1.value == pytest.approx((6 / 8 + 4 / 6) / 2)


def test_a_clip_in_two_folds_and_no_subjects_are_refused(make_experiment, make_record):
    experiment = make_experiment(TABLE)
    record = make_record(experiment, "a", TABLE["a"])
    with pytest.raises(DadnetError, match="clip a/clip0 was scored in two folds"):
        subject_confusions([record, record], CLASSES)
    with pytest.raises(DadnetError, match="some subjects, got: none"):
        summarise({}, DIGEST)
