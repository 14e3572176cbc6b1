"""Own labels and class sets: words, files, and their place in the configuration."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dadnet.base.errors import DadnetError
from dadnet.labels.class_sets import get_class_set, known_emotions, set_of_words
from dadnet.labels.own_labels import (
    class_set_text,
    own_class_set,
    plain_word,
    read_translation,
    title_of,
)
from orchestration.folds.flags import ABLATE, TEACHER, parse_flags
from orchestration.search.flags import parse_flags as parse_tune

DOCUMENT = Path(__file__).parents[3] / "docs" / "own_data.md"


@pytest.mark.parametrize(
    ("word", "plain"),
    [("Happy ", "happy"), ("\uff28\uff41ppy", "happy"), ("1.0", "1"), ("1.50", "1.50"),
     ("1.", "1."), ("a\u00a0 b", "a b"), ("紧张", "紧张")],
)  # fmt: skip
def test_one_word_has_one_form(word: str, plain: str):
    assert plain_word(word) == plain


def test_a_translation_takes_the_last_equals_sign():
    assert read_translation(["0=negative", "a=b=Surprise"]) == {"0": "negative", "a=b": "surprise"}
    with pytest.raises(DadnetError, match="expected WORD=MEANING"):
        read_translation(["=x"])


def test_the_order_of_the_file_is_that_of_the_classes(tmp_path: Path):
    path = tmp_path / "mood.yaml"
    path.write_text("classes: {z: [z, Y], a: 1, m: x}\ndropped: [other, 2]", encoding="utf-8")
    text = class_set_text(str(path))
    assert title_of(text) == "mood"
    chosen = get_class_set(text, "any")
    assert chosen.classes == ("z", "a", "m")
    assert [chosen.label(w) for w in ("z", "y", "1", "x", "other")] == ["z", "z", "a", "m", None]
    with pytest.raises(DadnetError, match="class set mood: unknown emotion 'w'; it knows"):
        chosen.label("w")
    assert class_set_text(text) == text


def test_a_list_of_words_is_the_classes_and_json_is_read(tmp_path: Path):
    path = tmp_path / "two.json"
    path.write_text('{"name": "pair", "classes": ["b", "a"]}')
    assert get_class_set(class_set_text(str(path)), "any").classes == ("b", "a")


@pytest.mark.parametrize("name", ["3class", "own", "action-units"])
def test_a_name_stays_a_name(name: str):
    assert class_set_text(name) == name == title_of(name)
    assert own_class_set(name) is None


def test_a_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(DadnetError, match=r"none.yaml cannot be read: No such file"):
        class_set_text(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("parse", [parse_flags, ABLATE.parse, parse_tune,
                                   TEACHER.parse])  # fmt: skip
@pytest.mark.parametrize("flag", ["--class-set {}", "--class-set={}", "--class_set {}"])
def test_every_command_reads_the_file(tmp_path: Path, parse, flag: str):
    path = tmp_path / "mood.yaml"
    path.write_text("classes: [a, b]")
    flags = parse([word.format(path) for word in flag.split()], "")
    class_set = getattr(flags, "class_set", None) or flags.experiment.data.class_set
    assert class_set == class_set_text(str(path))


def test_the_words_of_a_store_are_classes_in_order():
    chosen = set_of_words(["tense", "smile", "smile+tense"])
    assert chosen.classes == ("smile", "tense")
    assert chosen.label("smile+tense") is None
    with pytest.raises(DadnetError, match="expected two or more different classes"):
        set_of_words(["one"])


def test_the_page_lists_the_words_that_are_known():
    rows = re.findall(r"^\| (negative|positive|surprise|left out) \| (.*) \|$",
                      DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)  # fmt: skip
    chosen = get_class_set("3class", "mine")
    listed = {title: set(words.split(", ")) for title, words in rows}
    assert set().union(*listed.values()) == known_emotions("mine")
    for title, words in listed.items():
        expected = None if title == "left out" else title
        assert {chosen.label(word) for word in words} == {expected}


@given(st.text(max_size=60))
def test_any_text_is_a_class_set_or_one_line(content: str):
    message = "nothing was raised"
    try:
        own_class_set("{" + content)
    except DadnetError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
