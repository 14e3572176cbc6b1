"""Class sets: from the emotions of an annotation to class names in a fixed order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from dadnet.base.errors import DadnetError, listed, meant
from dadnet.labels.label_sets import LabelSet, label_sets_of
from dadnet.labels.own_labels import OWN_WORDS, own_class_set, words_of
from dadnet.labels.tasks import NO_LABEL

ANY = "any"


@dataclass(frozen=True)
class ClassSet:
    """A named map from emotions to classes.

    Attributes:
        name: name of the set, such as ``3class``.
        classes: class names in the order of the model's outputs.
        mapping: class of each used emotion.
        dropped: known emotions that are left out.
        left_out: ids of clips that are left out for another reason, with this reason.

    A clip with several known emotions (``positive+surprise``) has no single class and is left out.
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    dropped: frozenset[str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    column = "emotion"
    multi_label = False

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DadnetError(f"class set {self.name}: expected two or more different classes")
        if NO_LABEL in self.classes:
            raise DadnetError(f"class set {self.name}: a class may not be {NO_LABEL}")
        if set(self.mapping.values()) != set(self.classes):
            raise DadnetError(f"class set {self.name}: the mapping does not give the classes")
        if both := sorted(self.dropped & set(self.mapping)):
            raise DadnetError(f"class set {self.name}: mapped and dropped: {listed(both)}")

    def label(self, emotion: str, clip_id: str = "") -> str | None:
        """Class of an emotion; None if the set leaves the emotion or the clip out.

        Raises:
            DadnetError: if the emotion is neither mapped nor known to be left out.
        """
        if not self.unknown([emotion]):
            return None if clip_id in self.left_out else self.mapping.get(emotion)
        known = listed(sorted({*self.mapping, *self.dropped}), 8)
        raise DadnetError(
            f"class set {self.name}: unknown emotion {emotion!r}; it knows {known}; --class-set "
            f"{OWN_WORDS} takes the words of the flow store, FILE.yaml your own classes"
        )

    def why_dropped(self, emotion: str) -> str:
        """The reason under which a clip that is left out is counted."""
        return emotion

    def unknown(self, emotions: Iterable[str]) -> set[str]:
        """The emotions that are neither mapped nor known to be left out."""
        known = {*self.mapping, *self.dropped}
        return {e for e in emotions if not known.issuperset(e.split("+"))}


class _Entry(NamedTuple):
    """The emotions of each class in class order, and the emotions and clips that are left out."""

    emotions: Mapping[str, str]
    dropped: str = ""
    left_out: Mapping[str, str] = MappingProxyType({})


_NEGATIVE = (
    "negative repression anger angry contempt disgust disgusted fear fearful scared sadness sad"
)
_POSITIVE = "positive happiness happy"
_SURPRISE = "surprise surprised"
_OTHERS = "others other"
_BASIC = {
    "happiness": "happiness happy",
    "surprise": _SURPRISE,
    "disgust": "disgust disgusted",
    "sadness": "sadness sad",
    "fear": "fear fearful scared",
    "anger": "anger angry",
}


def _three(negative: str) -> dict[str, str]:
    return {"negative": negative, "positive": _POSITIVE, "surprise": _SURPRISE}


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


# The text of the Micro-Expressions Grand Challenge 2019: five emotions and repression are negative.
_ANY_3CLASS = _Entry(_three(_NEGATIVE), _OTHERS)
# Of CASME II only disgust and repression are negative there (footnote of the same text).
_CASME2_NEGATIVE = "negative disgust repression"
_CASME2_3CLASS = _Entry(_three(_CASME2_NEGATIVE), "others sadness fear")
# Absent from the challenge's own list of labels, which has 145 clips of CASME II where the
# released table gives 147.
_NOT_IN_MEGC = {
    f"casme2/{clip}": "not in the label list of the Micro-Expressions Grand Challenge 2019"
    for clip in ("sub04/EP12_01f", "sub24/EP02_07")
}

# By class set, then dataset; ``ANY`` is for datasets without an entry. Datasets have the names of
# the index. Counts are those of the released annotations, see `dadnet.datasets.literature`.
CLASS_SETS: Mapping[str, Mapping[str, _Entry]] = {
    "3class": {
        "casme2": _CASME2_3CLASS,  # 147 clips
        # Repression and others are classes of their own in 4DME.
        "fourdme": _Entry(_three("negative"), "repression others"),
        "dfme": _Entry(_three("negative disgust fear sadness anger contempt"), "others"),
        ANY: _ANY_3CLASS,
    },
    # The composite of the Micro-Expressions Grand Challenge 2019: 145, 133 and 164 clips.
    "3class-megc": {
        "casme2": _CASME2_3CLASS._replace(left_out=_NOT_IN_MEGC),
        "samm": _ANY_3CLASS,
        "smic": _ANY_3CLASS,
    },
    # CASME II with sadness and fear among the negative: 156 clips.
    "3class-156": {"casme2": _Entry(_three(f"{_CASME2_NEGATIVE} sadness fear"), "others")},
    "4class": {
        "casme2": _Entry({**_three(_CASME2_NEGATIVE), "others": "others"}, "sadness fear"),
        # The four most frequent emotions except fear, as in the public DAD-Net v2.
        "dfme": _Entry(
            {name: _BASIC[name] for name in ("disgust", "surprise", "sadness", "happiness")},
            "fear anger contempt others",
        ),
        ANY: _Entry({**_three(_NEGATIVE), "others": _OTHERS}),
    },
    "5class": {
        # The five classes of the 2014 paper.
        "casme2": _Entry(_same("happiness surprise disgust repression others"), "sadness fear"),
        "samm": _Entry(
            {**_same("anger happiness contempt"), "other": _OTHERS, "surprise": "surprise"},
            "disgust fear sadness",
        ),
        "fourdme": _Entry(_same("positive negative surprise repression others")),
    },
    "7class": {
        "casme2": _Entry(_same("happiness surprise disgust repression others sadness fear")),
        # CAS(ME)^3 has others where the basic emotions have contempt.
        **dict.fromkeys(("casme3", "casme3c"), _Entry({**_BASIC, "others": _OTHERS})),
        # Six basic emotions and contempt, as in DFME and CK+.
        ANY: _Entry({**_BASIC, "contempt": "contempt"}, f"{_OTHERS} repression"),
    },
}
# The synthetic sets have the emotions of CASME II.
_LIKE = {"synthetic": "casme2", "synthetic-macro": "casme2"}
_DRAWN_SETS = ("3class", "4class", "5class", "7class")


def get_class_set(name: str, dataset: str) -> ClassSet | LabelSet:
    """The class set of a dataset; with several labels per clip it is a `LabelSet`.

    Args:
        name: such as ``3class`` (negative, positive, surprise), ``3class-megc``, ``7class`` or
            ``action-units``, or a set of the user's own, see `dadnet.labels.own_labels`.
        dataset: name of the dataset, as in the index.

    Raises:
        DadnetError: if the dataset has no such class set; the message lists the available ones.
    """
    for labels in label_sets_of(dataset):
        if labels.name == name:
            return labels
    if (own := own_class_set(name)) is not None:
        return _own(own)
    entry = _entry(name, dataset)
    if entry is None:
        available = class_sets_of(dataset)
        raise DadnetError(
            f"no class set {name!r} for dataset {dataset!r}; available: {listed(available, 20)}, "
            f"{OWN_WORDS} (the words of the flow store), or a FILE.yaml{meant(name, available)}"
        )
    mapping = {e: label for label, words in entry.emotions.items() for e in words.split()}
    dropped = frozenset(entry.dropped.split())
    return ClassSet(name, tuple(entry.emotions), mapping, dropped, dict(entry.left_out))


def _own(own: Mapping[str, Any]) -> ClassSet:
    if own["name"] in (*CLASS_SETS, OWN_WORDS, "action-units", "action-units-12", "5class-multi"):
        raise DadnetError(f"class set: {own['name']} is the name of another one; expected your own")
    mapping = {word: label for label, words in own["classes"] for word in words}
    classes = tuple(label for label, _ in own["classes"])
    return ClassSet(own["name"], classes, mapping, frozenset(own["dropped"]))


def set_of_words(emotions: Iterable[str]) -> ClassSet:
    """The class set whose classes are the words of a flow store, sorted."""
    words = words_of(emotions)
    return ClassSet(OWN_WORDS, tuple(words), words, frozenset())


def class_sets_of(dataset: str) -> tuple[str, ...]:
    """Names of the class sets of a dataset."""
    single = (name for name in CLASS_SETS if _entry(name, dataset) is not None)
    return (*single, *(labels.name for labels in label_sets_of(dataset)))


def known_emotions(dataset: str) -> frozenset[str]:
    """Every emotion that some class set of the dataset maps or leaves out."""
    entries = filter(None, (_entry(name, dataset) for name in CLASS_SETS))
    texts = (" ".join((*entry.emotions.values(), entry.dropped)) for entry in entries)
    return frozenset(word for text in texts for word in text.split())


def _entry(name: str, dataset: str) -> _Entry | None:
    entries = CLASS_SETS.get(name, {})
    if dataset in _LIKE:
        return entries.get(_LIKE[dataset]) if name in _DRAWN_SETS else None
    return entries.get(dataset, entries.get(ANY))
