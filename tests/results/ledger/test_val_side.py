"""The val side of a fold: what it holds, what it refuses, where it lies."""

import math

import pytest

from dadnet.base.errors import DadnetError
from results.ledger.ledger import LedgerWarning
from results.ledger.val_side import ValLedger, ValSide, nested, shape_of

TABLE = {name: ["n>n", "p>s"] for name in ("d/a", "d/b", "d/c", "d/e")}
COUNTS = ((1, 0, 2), (0, 3, 0), (0, 0, 4))


@pytest.fixture
def experiment(ledger, make_experiment):
    made = make_experiment(TABLE)
    ledger.open(made)
    return made


@pytest.fixture
def val(ledger) -> ValLedger:
    return ValLedger(ledger.root)


def side(planned, fold: str = "d/a", **changes: object) -> ValSide:
    fields = {
        "experiment": planned.digest, "fold": fold, "fit_subjects": ("d/e",),
        "val_subjects": ("d/b", "d/c"), "chosen_epoch": 2, "epochs_run": 3,
        "curves": {"train_loss": (1.5, math.nan)}, "confusion": COUNTS,
        "log_losses": {"d/b": 0.5, "d/c": 0.25}, "parameters": 7,
        "host": {"seconds": 6.0, "stack": 4},
    }  # fmt: skip
    return ValSide(**{**fields, **changes})


def test_figures_of_a_val_side(experiment):
    made = side(experiment)
    assert made.log_loss == 0.375
    assert made.seconds == 1.5
    assert side(experiment, host={}).seconds == 0
    assert side(experiment, host={"seconds": 6.0}).seconds == 6
    assert made.counts.tolist() == [list(row) for row in COUNTS]
    assert made.counts.dtype.kind == "i"
    assert made.curves == {"train_loss": (1.5, None)}
    assert side(experiment, confusion=made.counts) == made
    assert math.isnan(side(experiment, log_losses={"d/b": None, "d/c": 0.25}).log_loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_losses": {"d/b": 0.5}}, r"a log-loss for each of \('d/b', 'd/c'\)"),
        ({"log_losses": None}, "log_losses"),
        ({"fit_subjects": ("d/e", "d/b")}, r"fold d/a has subjects on two sides: \['d/b'\]"),
        ({"host": {"stack": 0}}, "host: "),
        ({"confusion": ((1, 2), (3,))}, "a confusion matrix"),
        ({"confusion": ((1, 2),)}, "a confusion matrix"),
        ({"confusion": ((1, -2), (0, 1))}, "a confusion matrix"),
        ({"confusion": ((1.0, 2.0), (0.0, 1.0))}, "a confusion matrix"),
        ({"confusion": (((1, 2, 3), (1, 2, 3)),)}, "a confusion matrix"),
    ],
)
def test_a_wrong_val_side_is_refused(experiment, changes, message):
    with pytest.raises(DadnetError, match=message):
        side(experiment, **changes)


def test_a_refusal_names_the_val_side():
    with pytest.raises(DadnetError, match=r"\bval side\b"):
        ValSide.from_json("[]")


def test_counts_of_labels_are_of_absent_and_present():
    assert nested([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]) == (((1, 2), (3, 4)), ((5, 6), (7, 8)))
    assert (shape_of(5, False), shape_of(5, True)) == ((5, 5), (5, 2, 2))


def test_a_val_side_is_stored_once_where_its_fold_lies(experiment, val, ledger):
    first = side(experiment)
    folder = ledger.folder(experiment)
    assert val.root == ledger.root
    assert val.path(experiment, "d/a") == folder / "val" / "d%2Fa.val.json"
    assert val.get(experiment, "d/a") is None
    assert val.put(experiment, first)
    assert not val.put(experiment, side(experiment, chosen_epoch=1))
    assert val.get(experiment, "d/a") == first == val.get_or_set_aside(experiment, "d/a")
    assert val.path(experiment, "d/a").read_text() == first.to_json() + "\n"
    assert val.missing(experiment, ("d/c", "d/a", "d/b")) == ("d/c", "d/b")
    assert val.without_weights(experiment, ("d/a", "d/b")) == ("d/a", "d/b")
    weights = val.weights_path(experiment, "d/a")
    assert weights == folder / "searched" / "d%2Fa.safetensors"
    weights.parent.mkdir()
    weights.touch()
    val.weights_path(experiment, "d/b").touch()
    assert val.without_weights(experiment, ("d/a", "d/b")) == ("d/b",)


def test_weights_stay_until_no_study_needs_them(experiment, val, ledger):
    weights = val.weights_path(experiment, "d/a")
    for study in ("one", "two"):
        val.keep_weights(experiment, study)
    assert (weights.parent / ".kept-for-one").exists()
    weights.touch()
    val.release_weights(experiment, "one")
    assert weights.exists()
    assert not (weights.parent / ".kept-for-one").exists()
    val.release_weights(experiment, "two")
    assert not weights.parent.exists()
    val.release_weights(experiment, "two")


def test_a_val_side_of_another_plan_is_neither_written_nor_read(experiment, val, make_experiment):
    wrong = {
        "expected a val side of": side(experiment, experiment="0" * 16),
        "is not planned": side(experiment, fold="d/x"),
        r"fold d/b trains or validates on \['d/b'\]": side(experiment, fold="d/b"),
        r"trains or validates on \['d/e'\]": side(experiment, fold="d/e"),
        r"expected 3 classes, got: \(2, 2\)": side(experiment, confusion=((1, 0), (0, 1))),
    }
    for message, made in wrong.items():
        with pytest.raises(DadnetError, match=message):
            val.put(experiment, made)
    val.put(experiment, side(experiment))
    text = val.path(experiment, "d/a").read_bytes()
    val.path(experiment, "d/c").write_bytes(text)
    with pytest.warns(LedgerWarning, match="left out: expected fold 'd/c'"):
        assert val.get(experiment, "d/c") is None
    with pytest.warns(LedgerWarning, match="expected fold 'd/c', got: 'd/a'"):
        assert val.get_or_set_aside(experiment, "d/c") is None
    assert not val.path(experiment, "d/c").exists()
    labels = make_experiment(TABLE, multi_label=True, method="labels")
    pairs = ((1, 0), (0, 1))
    assert val.put(labels, side(labels, confusion=(pairs,) * 3))
    with pytest.raises(DadnetError, match="expected 3 classes"):
        val.put(labels, side(labels, fold="d/a", confusion=COUNTS))
