import json
import pickle

import pytest

from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.folds import protocols
from results.ledger.records import (
    PROTOCOLS,
    Divergence,
    Experiment,
    FoldRecord,
    PlannedFold,
    Prediction,
    check_record,
    comparable,
)
from results.ledger.sealed import seal

CLASSES = ("negative", "positive", "surprise")
TABLE = {"casme2/sub01": ["n>n", "p>s"], "casme2/sub02": ["s>s"], "casme2/sub03": ["p>p"]}


@pytest.fixture
def experiment(make_experiment) -> Experiment:
    return make_experiment(TABLE, config={"sizes": (1, 2), "name": "光流"})


@pytest.fixture
def record(make_record, experiment) -> FoldRecord:
    return make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"])


def changed(text: str, **changes) -> str:
    """Return a sealed text with other content and a right checksum."""
    payload = {key: value for key, value in json.loads(text).items() if key != "checksum"}
    payload.update(changes)
    return seal({key: value for key, value in payload.items() if value is not ...})


def test_both_survive_json_and_pickle(experiment, record):
    for thing in (experiment, record):
        text = thing.to_json()
        again = type(thing).from_json(text)
        assert again == thing
        assert again.to_json() == text
        assert type(thing).from_json(text.encode() + b"\n") == thing
        assert pickle.loads(pickle.dumps(thing)) == thing
    assert "光流" in experiment.to_json()
    hash(experiment)


def test_nan_is_stored_as_null(record):
    assert record.curves["val_uf1"] == (0.25, None)
    assert '"val_uf1":[0.25,null]' in record.to_json()


def test_comparable_leaves_out_host_and_checksum_only(experiment, record):
    other = record.replace(host={"hostname": "elsewhere"})
    assert other.to_json() != record.to_json()
    assert comparable(other) == comparable(record)
    assert json.loads(record.to_json()).keys() - comparable(record).keys() == {"host", "checksum"}
    assert comparable(record.replace(chosen_epoch=0)) != comparable(record)


def test_every_changed_bit_is_noticed(record):
    text = record.replace(host={"seconds": 1e-05}).to_json().encode()
    for position in range(len(text)):
        for bit in range(8):
            broken = bytearray(text)
            broken[position] ^= 1 << bit
            with pytest.raises(DadnetError):
                FoldRecord.from_json(bytes(broken))


def test_every_truncation_is_noticed(record):
    text = record.to_json()
    for length in range(len(text)):
        with pytest.raises(DadnetError):
            FoldRecord.from_json(text[:length])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 1, got: 2"),
        ({"surplus": 1}, "unknown field `surplus`"),
        ({"audit": ...}, "missing required field `audit`"),
        ({"predictions": "none"}, "^expected predictions as `array`"),
        ({"fit_subjects": ["a", "a"]}, "expected fit_subjects as"),
        ({"test_subjects": "casme2/sub01"}, "test_subjects as `array`"),
        ({"chosen_epoch": True}, "chosen_epoch as `int"),
        ({"curves": {"a": ["x"]}}, r"curves\[...\]\[0\] as `float"),
        ({"host": {"tries": -1}}, r"host: .*\$\.tries"),
        ({"host": {"stack": 0}}, r"host: .*\$\.stack"),
        ({"host": {"started_at": "today"}}, "host: "),
        (
            {"selection": "best"},
            "expected selection as one of inner, last, nested, oracle, unknown",
        ),
    ],
)
def test_wrong_records_are_refused_although_their_checksum_is_right(record, changes, message):
    with pytest.raises(DadnetError, match=message):
        FoldRecord.from_json(changed(record.to_json(), **changes))


def test_a_refusal_names_the_kind_of_record_and_the_field(make_experiment):
    for kind, name in ((Divergence, "divergence"), (Experiment, "experiment")):
        with pytest.raises(DadnetError, match=rf"\b{name}\b"):
            kind.from_json("[]")
    with pytest.raises(DadnetError, match="expected selection as one of"):
        make_experiment(TABLE, selection="best")


def test_wrong_experiments_are_refused_although_their_checksum_is_right(experiment):
    for changes in ({"schema": None}, {"surplus": 1}, {"folds": ...}, {"folds": [{"name": "a"}]}):
        with pytest.raises(DadnetError):
            Experiment.from_json(changed(experiment.to_json(), **changes))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "NaN", '{"schema":1}', '{"schema":1,"a":"\\ud800"}', "[" * 100_000],
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DadnetError):
        FoldRecord.from_json(text)


def test_a_number_that_json_does_not_have_is_named():
    with pytest.raises(DadnetError, match="expected a record in JSON, got: NaN is no JSON number"):
        FoldRecord.from_json('{"schema":1,"a":NaN}')


def test_truth_and_prediction_are_one_class_or_labels_in_the_order_of_the_classes():
    def fits(label, prediction, multi_label):
        return Prediction("a", "s", "", label, prediction).fits(CLASSES, multi_label)

    for one, several in (("surprise", ("negative", "surprise")), ("positive", ())):
        assert fits(one, one, False)
        assert fits(several, several, True)
        assert not fits(one, one, True)
        assert not fits(several, several, False)
    assert not fits("fear", "surprise", False)
    assert not fits(("surprise", "negative"), (), True)
    assert not fits((), ("fear",), True)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "xyz"},
        {"digest": "../../../../etc/"},
        {"method": ""},
        {"method": "red\x1b[31m"},
        {"method": "two\nlines"},
        {"dataset": "\ud800", "digest": "0" * 16},
        {"config": {"name": "\ud800"}},
        {"classes": ("one",)},
        {"classes": ("one", "one")},
        {"classes": "ab"},
        {"selection": "best"},
        {"seed": -1},
        {"config": {"lr": float("nan")}},
        {"config": {"path": object()}},
        {"config": None},
        {"folds": ()},
        {"folds": (PlannedFold("a", ("a",), 1), PlannedFold("a", ("b",), 1))},
    ],
)
def test_bad_experiments_are_refused(make_experiment, changes):
    with pytest.raises(DadnetError):
        make_experiment(TABLE, **changes)


def test_subjects_on_two_sides_are_refused(make_record, experiment):
    clips = TABLE["casme2/sub01"]
    sides = {"fit_subjects": ("b",), "val_subjects": ("c",), "test_subjects": ("casme2/sub01",)}
    for side in ("fit_subjects", "val_subjects"):
        with pytest.raises(DadnetError, match=r"two sides: \['casme2/sub01'\]"):
            make_record(experiment, "casme2/sub01", clips, **{**sides, side: ("casme2/sub01",)})
    with pytest.raises(DadnetError, match="two sides"):
        make_record(experiment, "casme2/sub01", clips, **{**sides, "fit_subjects": ("c",)})


def test_only_the_oracle_may_validate_on_the_test_subject(make_experiment, make_record):
    experiment = make_experiment(TABLE, selection="oracle")
    sides = {"val_subjects": ("casme2/sub01",)}
    assert make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"], **sides)
    sides = {"fit_subjects": ("casme2/sub01",)}
    with pytest.raises(DadnetError, match="two sides"):
        make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"], **sides)


def test_predictions_of_other_subjects_and_repeated_clips_are_refused(experiment, record):
    row = record.predictions[0]
    with pytest.raises(DadnetError, match="outside test"):
        record.replace(predictions=(row.replace(subject="casme2/sub09"),))
    with pytest.raises(DadnetError, match="expected clips of the predictions as .*different names"):
        record.replace(predictions=(row, row))


@pytest.mark.parametrize("probabilities", [(0.5, 0.6, 0.7), (-0.1, 0.6, 0.5), (float("nan"), 1, 0)])
def test_bad_probabilities_are_refused(probabilities):
    with pytest.raises(DadnetError, match="probabilities in"):
        Prediction("a/b/c", "a/b", "", CLASSES[0], CLASSES[1], probabilities)


def test_an_experiment_counts_its_decisions_and_lists_its_settings(make_experiment):
    source = {"file": "net.py", "function": "make", "files": [["net.py", "x = 1"]]}
    config = {"b": {"y": 2, "x": {"deep": None}}, "a": source, "c": (1, 2)}
    single = make_experiment(TABLE, config=config)
    assert [name for name, _ in single.settings] == ["a", "b.x.deep", "b.y", "c"]
    assert dict(single.settings)["a"] == str(OwnCode.from_json(source))
    assert [dict(single.settings)[name] for name in ("b.x.deep", "b.y")] == ["None", "2"]
    assert single.decisions_per_clip == 1
    assert make_experiment(TABLE, multi_label=True).decisions_per_clip == 3
    assert (single.num_clips, single.task.multi_label) == (4, False)


@pytest.mark.parametrize(
    ("label", "given", "fine"),
    [("n", "p", True), (("n",), (), True), ("n", ("p",), False), ((), "p", False), ("", "p", False),
     ("n", "", False)],
)  # fmt: skip
def test_truth_and_prediction_are_of_one_kind(label, given, fine):
    if fine:
        assert Prediction("a/b/c", "a/b", "", label, given).label == label
        return
    with pytest.raises(DadnetError, match="two names or two lists of names for a/b/c"):
        Prediction("a/b/c", "a/b", "", label, given)


def test_probabilities_sum_to_one_but_for_rounding_or_are_of_labels():
    Prediction("a/b/c", "a/b", "", "n", "p", (0.33, 0.33, 0.33))
    Prediction("a/b/c", "a/b", "", ("n",), ("p",), (0.9, 0.9, 1.0))
    with pytest.raises(DadnetError, match=r"in \[0, 1\] that sum to 1 for a/b/c"):
        Prediction("a/b/c", "a/b", "", "n", "p", (0.32, 0.32, 0.32))
    with pytest.raises(DadnetError, match=r"in \[0, 1\] for a/b/c, got"):
        Prediction("a/b/c", "a/b", "", ("n",), ("p",), (0.9, 0.9, 1.1))


def test_a_record_of_another_plan_names_what_differs(experiment, record):
    other = {
        "experiment": "0" * 16, "selection": "last", "teacher_digest": "t" * 16,
        "test_subjects": ("casme2/sub01", "casme2/sub09"), "predictions": record.predictions[:1],
    }  # fmt: skip
    names = ("experiment", "selection", "teacher", "test subjects", "number of clips")
    check_record(experiment, record)
    for (field, value), name in zip(other.items(), names, strict=True):
        with pytest.raises(DadnetError, match=f"^{name} of fold casme2/sub01: expected "):
            check_record(experiment, record.replace(**{field: value}))
    with pytest.raises(DadnetError, match="'x' is not planned"):
        check_record(experiment, record.replace(fold="x"))
    rows = (record.predictions[0].replace(prediction="calm"), record.predictions[1])
    with pytest.raises(DadnetError, match="got: negative and calm"):
        check_record(experiment, record.replace(predictions=rows))
    rows = (record.predictions[0].replace(probabilities=(0.5, 0.5)), record.predictions[1])
    with pytest.raises(DadnetError, match="expected 3, got: 2"):
        check_record(experiment, record.replace(predictions=rows))


def test_protocols_are_those_of_the_folds():
    assert set(PROTOCOLS) == set(protocols._PROTOCOLS)


def test_planned_fold_needs_a_clip_and_a_subject():
    for arguments in (("a", (), 1), ("a", ("a",), 0), ("", ("a",), 1), ("a", "abc", 1)):
        with pytest.raises(DadnetError):
            PlannedFold(*arguments)
