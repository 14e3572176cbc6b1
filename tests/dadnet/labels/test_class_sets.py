import pickle

import pytest

from dadnet.base.errors import DadnetError
from dadnet.datasets.literature import LITERATURE
from dadnet.labels.class_sets import CLASS_SETS, ClassSet, get_class_set, set_of_words

# Emotions of the released CASME II file (255 rows).
CASME2_COUNTS = {
    "others": 99,
    "disgust": 63,
    "happiness": 32,
    "repression": 27,
    "surprise": 25,
    "sadness": 7,
    "fear": 2,
}


def counts(name: str, dataset: str, emotions: dict[str, int]) -> dict[str, int]:
    chosen = get_class_set(name, dataset)
    found = dict.fromkeys(chosen.classes, 0)
    for emotion, number in emotions.items():
        label = chosen.label(emotion)
        if label is not None:
            found[label] += number
    return found


def test_three_classes_of_casme2_are_147_clips_in_the_fixed_order():
    found = counts("3class", "casme2", CASME2_COUNTS)
    assert list(found.items()) == [("negative", 90), ("positive", 32), ("surprise", 25)]


@pytest.mark.parametrize(("name", "total"), [("4class", 246), ("5class", 246), ("7class", 255)])
def test_larger_class_sets_of_casme2_keep_the_others(name: str, total: int):
    found = counts(name, "casme2", CASME2_COUNTS)
    assert sum(found.values()) == total
    assert len(found) == int(name[0])


@pytest.mark.parametrize("dataset", ["synthetic", "synthetic-macro"])
def test_synthetic_sets_have_the_classes_of_casme2(dataset: str):
    assert get_class_set("3class", dataset) == get_class_set("3class", "casme2")
    with pytest.raises(DadnetError, match="available: 3class, 4class, 5class, 7class"):
        get_class_set("3class-megc", dataset)


@pytest.mark.parametrize("dataset", list(LITERATURE))
def test_class_sets_give_the_counts_of_the_literature(dataset: str):
    known = LITERATURE[dataset]
    if not known.emotions:
        pytest.skip("no emotions are counted in print")
    for name, expected in known.class_sets.items():
        if name != "3class-megc" or dataset != "casme2":  # that one leaves out two clips by name
            assert counts(name, dataset, dict(known.emotions)) == dict(expected.counts), name


def test_the_challenge_leaves_out_two_clips_of_casme2():
    chosen = get_class_set("3class-megc", "casme2")
    assert sorted(chosen.left_out) == ["casme2/sub04/EP12_01f", "casme2/sub24/EP02_07"]
    assert chosen.label("disgust", "casme2/sub04/EP12_01f") is None
    assert chosen.label("disgust", "casme2/sub04/EP12_02f") == "negative"
    # 147 - 2, both negative
    assert counts("3class-megc", "casme2", CASME2_COUNTS)["negative"] - 2 == 88


def test_the_parts_of_dfme_sum_to_the_published_counts():
    known = LITERATURE["dfme"]
    assert sum(known.parts.values()) == sum(known.class_sets["3class"].counts.values()) == 2629


def test_several_emotions_of_one_clip_have_no_single_class():
    chosen = get_class_set("5class", "fourdme")
    assert chosen.label("positive+surprise") is None
    with pytest.raises(DadnetError, match="unknown emotion 'positive\\+joy'"):
        chosen.label("positive+joy")
    assert get_class_set("3class", "fourdme").label("repression") is None


def test_any_other_dataset_follows_the_challenge_text():
    chosen = get_class_set("3class", "samm")
    negative = ["repression", "anger", "contempt", "disgust", "fear", "sadness", "sad", "negative"]
    assert {chosen.label(e) for e in negative} == {"negative"}
    assert {chosen.label(e) for e in ["happiness", "happy", "positive"]} == {"positive"}
    assert chosen.label("surprise") == "surprise"
    assert chosen.label("other") is None
    assert chosen.label("others") is None


def test_a_dropped_emotion_is_known_and_a_misspelt_one_is_not():
    chosen = get_class_set("3class", "casme2")
    assert chosen.label("fear") is None
    assert chosen.unknown(["fear", "disgust", "hapiness", "anger"]) == {"hapiness", "anger"}
    with pytest.raises(DadnetError, match="unknown emotion 'hapiness'"):
        chosen.label("hapiness")


def test_an_unknown_class_set_lists_the_known_ones():
    with pytest.raises(DadnetError, match=r"'9class'.*available: 3class, 3class-megc, 3class-156"):
        get_class_set("9class", "casme2")
    with pytest.raises(DadnetError, match="available: 3class, 4class, 7class"):
        get_class_set("5class", "ckplus")


def test_every_entry_of_the_table_is_a_valid_class_set():
    for name, datasets in CLASS_SETS.items():
        for dataset in datasets:
            chosen = get_class_set(name, dataset)
            assert len(chosen.classes) == int(name[0])
            assert chosen.name == name


NEGATIVE = (
    "negative repression anger angry contempt disgust disgusted fear fearful scared sadness sad"
)
REST = "positive: positive happiness happy; surprise: surprise surprised"
BASIC = (
    "happiness: happiness happy; surprise: surprise surprised; disgust: disgust disgusted; "
    "sadness: sadness sad; fear: fear fearful scared; anger: anger angry"
)
# What becomes what, with the classes in their order: another entry gives other numbers under the
# same name.
PINNED = {
    ("3class", "casme2"): (
        f"negative: negative disgust repression; {REST}; dropped: fear others sadness"
    ),
    ("3class", "fourdme"): f"negative: negative; {REST}; dropped: others repression",
    ("3class", "dfme"): (
        f"negative: negative disgust fear sadness anger contempt; {REST}; dropped: others"
    ),
    ("3class", "any"): f"negative: {NEGATIVE}; {REST}; dropped: other others",
    ("3class-megc", "casme2"): (
        f"negative: negative disgust repression; {REST}; dropped: fear others sadness"
    ),
    ("3class-megc", "samm"): f"negative: {NEGATIVE}; {REST}; dropped: other others",
    ("3class-megc", "smic"): f"negative: {NEGATIVE}; {REST}; dropped: other others",
    ("3class-156", "casme2"): (
        f"negative: negative disgust repression sadness fear; {REST}; dropped: others"
    ),
    ("4class", "casme2"): (
        f"negative: negative disgust repression; {REST}; others: others; dropped: fear sadness"
    ),
    ("4class", "dfme"): (
        "disgust: disgust disgusted; surprise: surprise surprised; sadness: sadness sad; "
        "happiness: happiness happy; dropped: anger contempt fear others"
    ),
    ("4class", "any"): f"negative: {NEGATIVE}; {REST}; others: others other",
    ("5class", "casme2"): (
        "happiness: happiness; surprise: surprise; disgust: disgust; repression: repression; "
        "others: others; dropped: fear sadness"
    ),
    ("5class", "samm"): (
        "anger: anger; happiness: happiness; contempt: contempt; other: others other; "
        "surprise: surprise; dropped: disgust fear sadness"
    ),
    ("5class", "fourdme"): (
        "positive: positive; negative: negative; surprise: surprise; repression: repression; "
        "others: others"
    ),
    ("7class", "casme2"): (
        "happiness: happiness; surprise: surprise; disgust: disgust; repression: repression; "
        "others: others; sadness: sadness; fear: fear"
    ),
    ("7class", "casme3"): f"{BASIC}; others: others other",
    ("7class", "casme3c"): f"{BASIC}; others: others other",
    ("7class", "any"): f"{BASIC}; contempt: contempt; dropped: other others repression",
}


def test_every_emotion_has_the_class_that_is_pinned_for_it():
    assert set(PINNED) == {(name, dataset) for name in CLASS_SETS for dataset in CLASS_SETS[name]}
    for (name, dataset), text in PINNED.items():
        chosen = get_class_set(name, dataset)
        lines = [line.split(": ") for line in text.split("; ")]
        dropped = lines.pop()[1] if lines[-1][0] == "dropped" else ""
        assert chosen.classes == tuple(label for label, _ in lines), (name, dataset)
        expected = {word: label for label, words in lines for word in words.split()}
        assert chosen.mapping == expected, (name, dataset)
        assert chosen.dropped == set(dropped.split()), (name, dataset)
        assert (chosen.name, chosen.column, chosen.multi_label) == (name, "emotion", False)
        assert all(chosen.label(word) == label for word, label in expected.items())
        assert all(chosen.label(word) is None for word in dropped.split())


def test_a_set_of_the_words_of_a_store_is_called_own():
    chosen = set_of_words(["tense", "calm", "tense"])
    assert (chosen.name, chosen.classes) == ("own", ("calm", "tense"))
    assert chosen.label("tense") == "tense"


def test_a_class_set_survives_the_way_to_a_worker():
    chosen = get_class_set("3class", "casme2")
    assert pickle.loads(pickle.dumps(chosen)) == chosen


@pytest.mark.parametrize(
    ("classes", "mapping", "dropped", "reason"),
    [
        (("a", "a"), {"x": "a"}, set(), "two or more different"),
        (("a", "b"), {"x": "a"}, set(), "does not give the classes"),
        (("a", "b"), {"x": "a", "y": "b"}, {"x"}, "mapped and dropped: x"),
    ],
)
def test_a_contradictory_class_set_is_refused(classes, mapping, dropped, reason):
    with pytest.raises(DadnetError, match=reason):
        ClassSet("test", classes, mapping, frozenset(dropped))
