"""Labels of the user's own: a translation of the table's words, and class sets of their own.

A class set of the user is a part of the experiment. Its content, not its file, stands in the
configuration as canonical JSON, so that it is in the digest and in the ledger and a worker needs no
file:

    {"classes": [["tense", ["stressed", "tense"]], ["smile", ["smile"]]], "dropped": [],
     "name": "mood"}
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dadnet.base.digests import canonical_json
from dadnet.base.disk import read_input
from dadnet.base.errors import DadnetError, listed

# The class set whose classes are the words of the store.
OWN_WORDS = "own"
_SUFFIXES = (".yaml", ".yml", ".json")
_SHAPE = "classes: {smile: [smile, grin], tense: tense}"


def plain_word(word: object) -> str:
    """A label as the index has it: lower case, one form of each character, "1" for 1.0."""
    text = " ".join(unicodedata.normalize("NFKC", str(word)).split()).lower()
    whole, point, zeros = text.partition(".")
    return whole if point and whole.isdecimal() and zeros and not zeros.strip("0") else text


def read_translation(words: Sequence[str]) -> dict[str, str]:
    """The map of `0=negative`, `1=positive`, ...

    Raises:
        DadnetError: if a part has another shape, or a word is given twice.
    """
    found: dict[str, str] = {}
    for part in words:
        word, equals, meaning = (plain_word(piece) for piece in part.rpartition("="))
        if not equals or not word or not meaning:
            raise DadnetError(f"labels: expected WORD=MEANING,... or own, got {part!r}")
        if found.setdefault(word, meaning) != meaning:
            raise DadnetError(f"labels: {word} is given twice: {found[word]} and {meaning}")
    return found


def class_set_text(value: str) -> str:
    """The value of a flag `--class-set`: canonical JSON for a file, a name as it is.

    Raises:
        DadnetError: if the file cannot be read as a class set.
    """
    if value.startswith("{"):
        return canonical_json(_checked(_parsed(value, "class set"), "class set"))
    if not value.lower().endswith(_SUFFIXES):
        return value
    path = Path(value).expanduser()
    try:
        content = read_input(path, "utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise DadnetError(f"class set: {path} cannot be read: {reason}") from error
    data = _parsed(content, f"class set {path}")
    return canonical_json(_checked(data, f"class set {path}", default_name=path.stem))


def own_class_set(text: str) -> dict[str, Any] | None:
    """Name, classes ([class, words]) and dropped words of canonical JSON; None for a name."""
    if not text.startswith("{"):
        return None
    return _checked(_parsed(text, "class set"), "class set")


def title_of(class_set: str) -> str:
    """The name of a class set for records and pages."""
    own = own_class_set(class_set)
    return class_set if own is None else str(own["name"])


def words_of(emotions: Iterable[str]) -> dict[str, str]:
    """The mapping of a store's words to themselves; `a+b` are two words."""
    return {word: word for word in sorted({part for e in emotions for part in e.split("+")})}


def _parsed(content: str, what: str) -> Mapping[Any, Any]:
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise DadnetError(f"{what}: expected YAML or JSON: {line}") from error
    if not isinstance(data, dict):
        raise DadnetError(f"{what}: expected {_SHAPE}, got {type(data).__name__}")
    return data


def _checked(data: Mapping[Any, Any], what: str, default_name: str = "") -> dict[str, Any]:
    if unknown := sorted(str(key) for key in data if key not in ("name", "classes", "dropped")):
        raise DadnetError(f"{what}: expected name, classes and dropped, got also {listed(unknown)}")
    classes = data.get("classes")
    if isinstance(classes, dict):
        classes = list(classes.items())
    elif isinstance(classes, list):  # pairs, or the words are the classes
        classes = [pair if isinstance(pair, list) else (pair, pair) for pair in classes]
    if not isinstance(classes, list) or len(classes) < 2 or any(len(c) != 2 for c in classes):
        raise DadnetError(f"{what}: expected two or more classes, as in {_SHAPE}")
    # A list of pairs keeps the order of the classes, which JSON of sorted keys would lose.
    named = [[_name(label, what), _words(words, what)] for label, words in classes]
    dropped = _words(data.get("dropped", []), what)
    every = [*dropped, *(word for _, words in named for word in words)]
    if twice := sorted({word for word in every if every.count(word) > 1}):
        raise DadnetError(f"{what}: a word has two places: {listed(twice)}")
    name = str(data.get("name", default_name)).strip()
    if not name:
        raise DadnetError(f"{what}: expected a name, as in name: mood")
    return {"name": name, "classes": named, "dropped": dropped}


def _name(label: Any, what: str) -> str:
    name = "" if isinstance(label, bool) else str(label).strip()
    if not name or "+" in name:
        raise DadnetError(
            f"{what}: expected the name of a class, without +, got {label!r}; YAML reads yes and "
            "no as truth values unless they are in quotation marks"
        )
    return name


def _words(words: Any, what: str) -> list[str]:
    listed = words if isinstance(words, list) else [words]
    if any(not isinstance(word, str | int) or isinstance(word, bool) for word in listed):
        raise DadnetError(f"{what}: expected words, got {listed!r}; as in {_SHAPE}")
    return sorted({plain_word(word) for word in listed} - {""})
