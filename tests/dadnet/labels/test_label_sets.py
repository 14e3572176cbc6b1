"""Class sets of several labels: emotions of 4DME, action units."""

import pickle

import pytest

from dadnet.base.errors import DadnetError
from dadnet.labels.action_codes import coded_units
from dadnet.labels.class_sets import class_sets_of, get_class_set
from dadnet.labels.label_sets import LabelSet, label_sets_of


@pytest.mark.parametrize(
    ("text", "sure", "unsure"),
    [
        ("", (), ()),
        ("AU4, L12 (k)", (4,), ()),
        ("L4+R4+12A", (4, 12), ()),
        ("T14+U24", (14, 24), ()),
        ("12 or 14", (), (12, 14)),
        ("12 or 14, 12", (12,), (14,)),
        ("L12|R12", (12,), ()),
        ("0", (0,), ()),
        # As real tables have them: descriptors, levels, sides, remarks, alternatives, doubts.
        ("4+AD38", (4,), ()),
        ("4+M58", (4,), ()),
        ("23+AD31", (23,), ()),
        ("10A/B", (10,), ()),
        ("A/L12", (12,), ()),
        ("R14+17+soft focus", (14, 17), ()),
        ("(R6 or R12)+R15", (15,), (6, 12)),
        ("ref(24)+12A", (12,), (24,)),
        ("4?+7", (7,), (4,)),
        ("12.0", (12,), ()),
        ("12/14", (12, 14), ()),
        ("?", (), ()),
        ("brow lowered", (), ()),
    ],
)
def test_sides_and_levels_of_a_unit_do_not_count(text, sure, unsure):
    assert coded_units(text) == (frozenset(sure), frozenset(unsure))


def test_a_clip_without_a_unit_of_the_set_has_no_label_and_one_that_was_not_coded_is_dropped():
    chosen = get_class_set("action-units", "samm")
    assert chosen.classes == ("AU2", "AU4", "AU7", "AU12")
    assert chosen.label("14B+4A") == "AU4"
    assert chosen.label("12+R2+7") == "AU2+AU7+AU12"
    assert chosen.label("14") == "none"
    assert chosen.label("") is None
    assert chosen.why_dropped("") == "no unit coded"


def test_alternatives_drop_a_clip_only_where_they_are_of_the_set():
    chosen = get_class_set("action-units", "samm")
    assert chosen.label("12|14") is None
    assert chosen.why_dropped("12|14") == "alternatives 12|14"
    assert chosen.label("14|24+4") == "AU4"


@pytest.mark.parametrize("text", ["?", "eyes?", "ref(24)", "AD38", "4?"])
def test_a_clip_without_a_certain_unit_is_dropped_with_that_reason(text: str):
    chosen = get_class_set("action-units", "samm")
    assert chosen.unknown(["4", text]) == set()
    assert chosen.label(text, "samm/006/x") is None
    assert chosen.why_dropped(text) == "no certain unit"


def test_a_doubt_drops_a_clip_only_where_it_is_of_the_set():
    chosen = get_class_set("action-units", "samm")
    assert chosen.label("7+ref(24)") == "AU7"
    assert chosen.label("7+ref(12)") is None


def test_a_clip_of_4dme_may_have_several_emotions():
    chosen = get_class_set("5class-multi", "fourdme")
    assert chosen.label("surprise+positive") == "positive+surprise"
    assert chosen.label("others") == "others"
    assert get_class_set("5class", "fourdme").label("positive+surprise") is None
    with pytest.raises(DadnetError, match="unknown 'angry'"):
        chosen.label("angry")


@pytest.mark.parametrize("dataset", ["casme2", "casme3", "samm", "fourdme", "dfme", "synthetic"])
def test_every_dataset_with_units_has_a_set_of_them(dataset):
    chosen = get_class_set("action-units", dataset)
    assert chosen.multi_label
    assert set(chosen.classes) <= {f"AU{number}" for number in range(1, 46)}
    assert "action-units" in class_sets_of(dataset)
    assert pickle.loads(pickle.dumps(chosen)) == chosen


CROSS = "1 2 4 5 6 7 9 10 12 14 15 17"
# Units of `action-units`, and whether there are those of all sets together as well.
UNITS = {
    "casme2": ("1 2 4 7 12 14 15 17", True), "samm": ("2 4 7 12", True),
    "fourdme": ("1 2 4 6 7 12 17 45", True), "casme3": (CROSS, True), "casme3c": (CROSS, True),
    "dfme": (CROSS, True), "synthetic": ("1 4 9 12 15", False),
    "synthetic-macro": ("1 4 9 12 15", False), "smic": ("", False), "ckplus": ("", False),
    "own": ("", True),
}  # fmt: skip


@pytest.mark.parametrize("dataset", UNITS)
def test_every_dataset_has_the_units_that_are_pinned_for_it(dataset):
    numbers, together = UNITS[dataset]
    expected = {"action-units": numbers} if numbers else {}
    expected |= {"action-units-12": CROSS} if together else {}
    found = {s.name: s for s in label_sets_of(dataset) if s.column == "action_units"}
    assert set(found) == set(expected)
    for name, text in expected.items():
        assert found[name].classes == tuple(f"AU{number}" for number in text.split())
        assert found[name].multi_label
        assert found[name].label("", "x") is None


def test_all_emotions_of_4dme_at_once_are_labels():
    [chosen] = [s for s in label_sets_of("fourdme") if s.column == "emotion"]
    words = ("positive", "negative", "surprise", "repression", "others")
    assert (chosen.name, chosen.classes) == ("5class-multi", words)
    assert chosen.label("+".join(words)) == "+".join(words)
    assert not chosen.uncertain("")
    assert chosen.unknown(["others", "joy"]) == {"joy"}


@pytest.mark.parametrize("labels", [("AU1",), ("AU1", "AU1"), ("AU1", "none")])
def test_labels_are_two_or_more_and_differ(labels):
    with pytest.raises(DadnetError, match="class set own: "):
        LabelSet("own", labels, "action_units")


def test_one_set_of_units_serves_all_datasets_together():
    sets = {get_class_set("action-units-12", name) for name in ("casme2", "samm", "own")}
    assert len(sets) == 1


def test_a_dataset_without_units_has_none():
    with pytest.raises(DadnetError, match="no class set 'action-units' for dataset 'smic'"):
        get_class_set("action-units", "smic")


def test_a_label_may_not_be_taken_for_several():
    with pytest.raises(DadnetError, match=r"may not be none or have a \+"):
        LabelSet("own", ("AU1", "AU1+AU2"), "action_units")
