import csv
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from scipy.stats import bootstrap

from dadnet.base.errors import DadnetError
from dadnet.labels import metrics
from results.ledger.records import Prediction
from results.statistics.counts import UNIT, Counts, count
from results.statistics.resampling import (
    NUM_RESAMPLES,
    Interval,
    effective_subjects,
    expanded_tail,
    figures,
    interval,
    jackknife,
    subject_sizes,
    subject_weights,
)
from results.statistics.summary import count_records, matthews, summarise, summarise_many

CLASSES = ("negative", "positive", "surprise")
# subject   clips (truth>prediction)        pooled, truth \ prediction   n  p  s    F1
# a         n>n n>n n>p                                              n   3  1  0    6/(4+5) = 2/3
# b         p>p p>n s>s                                              p   1  2  0    4/(3+3) = 2/3
# c         n>n s>n p>p                                              s   1  0  1    2/(2+1) = 2/3
TABLE = {"a": ["n>n", "n>n", "n>p"], "b": ["p>p", "p>n", "s>s"], "c": ["n>n", "s>n", "p>p"]}


@pytest.fixture
def counts(make_experiment, make_record):
    experiment = make_experiment(TABLE)
    records = [make_record(experiment, fold, clips) for fold, clips in TABLE.items()]
    return count_records(records, CLASSES)


def of_stack(stack) -> Counts:
    """Return counts of subjects with these confusions."""
    stack = np.asarray(stack, dtype=np.int64)
    return Counts(tuple(f"s{n:03d}" for n in range(len(stack))), stack, None, None)


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
    return of_stack(stack)


def test_counts_of_each_subject_and_pooled_figures_by_hand(counts):
    assert counts.subjects == ("a", "b", "c")
    np.testing.assert_array_equal(counts.confusions[1], [[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    summary = summarise(counts)
    assert summary.confusion == ((3, 1, 0), (1, 2, 0), (1, 0, 1))
    assert summary.class_f1 == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert summary.uf1.value == pytest.approx(2 / 3)
    assert summary.uar.value == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert summary.accuracy.value == pytest.approx(6 / 9)
    assert summary.log_loss is None
    assert summary.ece is None


def test_matthews_by_hand():
    # two classes: (TP TN - FP FN) / sqrt(...)
    found = matthews([[3, 1], [2, 4]])
    assert found == pytest.approx((3 * 4 - 1 * 2) / np.sqrt(4 * 6 * 5 * 5))
    assert matthews([[3, 0], [2, 0]]) is None
    assert matthews(np.diag([3, 2, 1])) == pytest.approx(1.0)


def test_matthews_equals_scikit_learn(published):
    from sklearn.metrics import matthews_corrcoef

    pooled = published.pooled
    truth = np.repeat([0, 1, 2], pooled.sum(axis=1))
    given = np.concatenate([np.repeat([0, 1, 2], row) for row in pooled])
    assert summarise(published).mcc == pytest.approx(matthews_corrcoef(truth, given))


def test_log_loss_and_calibration_by_hand():
    table = [
        ("a", "negative", (0.8, 0.1, 0.1)),
        ("a", "positive", (0.2, 0.5, 0.3)),
        ("b", "surprise", (0.9, 0.1, 0.0)),
        ("b", "negative", (0.81, 0.1, 0.09)),
    ]
    rows = [
        Prediction(f"{s}/{n}", s, "", label, CLASSES[int(np.argmax(p))], p)
        for n, (s, label, p) in enumerate(table)
    ]
    summary = summarise(count(rows, CLASSES))
    floor = float(np.finfo(np.float32).eps)
    losses = [-np.log(p) for p in (0.8, 0.5, floor, 0.81)]
    assert summary.log_loss == pytest.approx(np.mean(losses), abs=UNIT)
    # bins of 1/15: 0.8 and 0.81 share one (2 right), 0.5 (right) and 0.9 (wrong) are alone
    assert summary.ece == pytest.approx((abs(2 - 1.61) + 0.5 + 0.9) / 4, abs=UNIT)


def test_published_log(published):
    assert published.confusions.shape == (68, 3, 3)
    assert published.pooled.sum() == 442
    summary = summarise(published)
    assert summary.uf1.value == pytest.approx(0.7209, abs=5e-5)
    assert summary.uar.value == pytest.approx(0.725, abs=5e-4)
    assert summary.uf1.interval.method == "BCa"
    assert summary.uf1.interval.low == pytest.approx(0.656, abs=8e-3)
    assert summary.uf1.interval.high == pytest.approx(0.777, abs=8e-3)
    # what others publish instead, which is not comparable
    assert summary.fold_uf1 == pytest.approx((0.618, 0.422), abs=5e-4)


def test_figures_of_resamples_are_those_of_the_metrics(published):
    weights = subject_weights(published.subjects)[:200]
    np.testing.assert_array_equal(weights.sum(axis=1), 68)
    pooled = np.einsum("rs,sij->rij", weights, published.confusions)
    uf1, uar, accuracy = figures(weights, published.confusions)
    np.testing.assert_allclose(uf1, list(map(metrics.uf1, pooled)), atol=1e-6)
    np.testing.assert_allclose(uar, list(map(metrics.uar, pooled)), atol=1e-6)
    np.testing.assert_allclose(accuracy, [c.trace() / c.sum() for c in pooled], atol=1e-6)
    left_out = published.pooled - published.confusions
    np.testing.assert_allclose(
        jackknife(published.confusions)[0], list(map(metrics.uf1, left_out)), atol=1e-12
    )


def test_interval_equals_that_of_scipy_on_the_same_resamples(published):
    stack = published.confusions
    sizes = subject_sizes(stack)
    values = figures(subject_weights(published.subjects), stack)[0].astype(np.float64)
    own = metrics.uf1(published.pooled)
    ours = interval(values, own, jackknife(stack)[0], sizes)

    def uf1(chosen, axis=-1):
        chosen = np.moveaxis(np.asarray(chosen, dtype=np.int64), axis, -1)
        counts = stack[chosen].sum(axis=-3)
        return metrics.mean_of_defined(metrics.class_f1(counts, stacked=counts.ndim - 2))

    scipys = bootstrap(
        (np.arange(68),),
        uf1,
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=values),
        confidence_level=1 - 2 * expanded_tail(effective_subjects(sizes)),
        method="BCa",
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=1e-6)


def test_tails_widen_for_few_and_for_unequal_subjects():
    tails = [expanded_tail(number) for number in (1.5, 5, 12, 33, 68, 1e6)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, abs=1e-6)
    equal, unequal = np.ones((4, 2, 2)), np.ones((4, 2, 2))
    unequal[0] = 100
    of_equal, of_unequal = (
        effective_subjects(subject_sizes(stack.astype(int))) for stack in (equal, unequal)
    )
    assert of_equal == pytest.approx(4)
    assert 1 < of_unequal < 1.1


@pytest.mark.parametrize("number", [2, 5, 12.5, 68])
def test_the_tail_is_that_of_students_t_for_so_many_subjects(number):
    t = scipy.stats.t.ppf(0.025, number - 1)
    expected = scipy.stats.norm.cdf(t * np.sqrt(number / (number - 1)))
    assert expanded_tail(number) == pytest.approx(expected, rel=1e-9)


def test_interval_over_subjects_is_wider_than_over_clips(published):
    over_subjects = summarise(published).uf1.interval
    clips = np.repeat(np.eye(9, dtype=np.int64), published.pooled.ravel(), axis=0)
    over_clips = summarise(of_stack(clips.reshape(-1, 3, 3))).uf1.interval
    assert over_clips.high - over_clips.low < over_subjects.high - over_subjects.low


def test_same_subjects_same_resamples_and_others_others():
    first = subject_weights(("a", "b", "c"))
    subject_weights.cache_clear()
    np.testing.assert_array_equal(subject_weights(("a", "b", "c")), first)
    assert first.shape == (NUM_RESAMPLES, 3)
    assert (subject_weights(("a", "b", "d")) != first).any()


@pytest.mark.parametrize("seen", ["error", "right answer"])
def test_a_row_without_errors_or_without_right_answers_has_no_interval(seen):
    table = np.diag([2, 1, 1]) if seen == "error" else np.roll(np.diag([2, 1, 1]), 1, axis=1)
    found = summarise(of_stack([table] * 5)).uf1
    assert found.value == (1.0 if seen == "error" else 0.0)
    assert found.interval == Interval(None, None, "none", f"no {seen} seen in 5 subjects")


def test_a_row_of_equal_subjects_with_errors_has_percentiles_and_says_why():
    found = summarise(of_stack([[[2, 1, 0], [0, 1, 0], [0, 0, 1]]] * 5)).uf1
    assert found.interval.method == "percentile"
    assert found.interval.low == pytest.approx(found.value)
    assert found.interval.high == pytest.approx(found.value)
    assert found.interval.why == "the levels of BCa are not defined"


def test_one_subject_has_figures_and_no_interval():
    summary = summarise(of_stack([np.diag([2, 1, 1])]))
    assert summary.uf1.value == 1.0
    assert summary.uf1.interval.method == "none"
    assert summary.uf1.interval.low is None
    assert summary.uf1.interval.high is None


def test_class_that_never_occurs_has_no_f1():
    summary = summarise(of_stack([np.diag([2, 1, 0]), [[1, 1, 0], [1, 1, 0], [0, 0, 0]]]))
    assert summary.class_f1[2] is None
    # truth \ prediction   n  p        F1: 6/(4+4), 4/(3+3)
    #                  n   3  1
    #                  p   1  2
    assert summary.uf1.value == pytest.approx((6 / 8 + 4 / 6) / 2)


def test_a_clip_in_two_folds_and_no_subjects_are_refused(make_experiment, make_record):
    experiment = make_experiment(TABLE)
    record = make_record(experiment, "a", TABLE["a"])
    with pytest.raises(DadnetError, match="clip a/clip0 was scored in two folds"):
        count_records([record, record], CLASSES)
    with pytest.raises(DadnetError, match="some subjects, got: none"):
        summarise(of_stack(np.zeros((0, 3, 3))))


def test_class_sets_of_different_sizes_over_the_same_subjects_are_summarised_apart():
    draw = np.random.default_rng(0)
    subjects = tuple(f"s{number}" for number in range(6))
    shapes = [(3, 3), (5, 5), (5, 5), (4, 2, 2)]  # the last one: four labels
    many = [
        Counts(subjects, draw.integers(1, 9, (len(subjects), *shape)), None, None)
        for shape in shapes
    ]
    assert summarise_many(many) == [summarise(counts) for counts in many]
