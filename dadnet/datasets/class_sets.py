"""Class sets: from the emotions of an annotation to class names in a fixed order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from dadnet.errors import DadnetError

ANY = "any"


@dataclass(frozen=True)
class ClassSet:
    """A named map from emotions to classes.

    Attributes:
        name: name of the set, such as ``3class``.
        classes: class names in the order that the model's outputs have.
        mapping: class of each emotion that is used.
        dropped: emotions that are known and left out.
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    dropped: frozenset[str]

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DadnetError(f"class set {self.name}: expected two or more different classes")
        if set(self.mapping.values()) != set(self.classes):
            raise DadnetError(f"class set {self.name}: the mapping does not give the classes")
        if both := sorted(self.dropped & set(self.mapping)):
            raise DadnetError(f"class set {self.name}: mapped and dropped: {', '.join(both)}")
        object.__setattr__(self, "mapping", MappingProxyType(dict(self.mapping)))

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy cannot be pickled, and class sets travel to workers.
        return ClassSet, (self.name, self.classes, dict(self.mapping), self.dropped)

    def label(self, emotion: str) -> str | None:
        """Class of an emotion; None if the set leaves it out.

        Raises:
            DadnetError: if the emotion is neither mapped nor known to be left out.
        """
        if emotion in self.mapping:
            return self.mapping[emotion]
        if emotion in self.dropped:
            return None
        known = ", ".join(sorted({*self.mapping, *self.dropped}))
        raise DadnetError(f"class set {self.name}: unknown emotion {emotion!r}; it knows {known}")

    def unknown(self, emotions: Iterable[str]) -> set[str]:
        """The emotions that are neither mapped nor known to be left out."""
        return set(emotions) - set(self.mapping) - self.dropped


class _Entry(NamedTuple):
    """One line of the table: the emotions of each class, in class order, and those left out."""

    emotions: Mapping[str, str]
    dropped: str = ""


# The emotions of CASME II: disgust, repression, happiness, surprise, others, sadness, fear.
_CASME2 = {
    # Micro-Expressions Grand Challenge 2019: of CASME II, disgust and repression are negative;
    # the 255 rows of the released file give 147 clips.
    "3class": _Entry(
        {"negative": "disgust repression", "positive": "happiness", "surprise": "surprise"},
        "others sadness fear",
    ),
    "4class": _Entry(
        {
            "negative": "disgust repression",
            "positive": "happiness",
            "surprise": "surprise",
            "others": "others",
        },
        "sadness fear",
    ),
    # The five classes of the 2014 paper.
    "5class": _Entry(
        {c: c for c in ("happiness", "surprise", "disgust", "repression", "others")},
        "sadness fear",
    ),
    "7class": _Entry(
        {
            c: c
            for c in (
                "happiness", "surprise", "disgust", "repression", "others", "sadness", "fear",
            )
        }
    ),
}  # fmt: skip
_NEGATIVE = (
    "negative repression anger angry contempt disgust disgusted fear fearful scared sadness sad"
)
_POSITIVE = "positive happiness happy"
_SURPRISE = "surprise surprised"
_OTHERS = "others other"

# Class set, then dataset; ``ANY`` serves the datasets that have no entry of their own.
# A dataset's name is what the index has in the column ``dataset``.
CLASS_SETS: Mapping[str, Mapping[str, _Entry]] = {
    "3class": {
        **dict.fromkeys(("casme2", "synthetic", "synthetic-macro"), _CASME2["3class"]),
        # The text of the Micro-Expressions Grand Challenge 2019, for all its datasets.
        ANY: _Entry({"negative": _NEGATIVE, "positive": _POSITIVE, "surprise": _SURPRISE}, _OTHERS),
    },
    "4class": {
        **dict.fromkeys(("casme2", "synthetic", "synthetic-macro"), _CASME2["4class"]),
        ANY: _Entry(
            {
                "negative": _NEGATIVE,
                "positive": _POSITIVE,
                "surprise": _SURPRISE,
                "others": _OTHERS,
            }
        ),
    },
    "5class": dict.fromkeys(("casme2", "synthetic", "synthetic-macro"), _CASME2["5class"]),
    "7class": {
        **dict.fromkeys(("casme2", "synthetic", "synthetic-macro"), _CASME2["7class"]),
        # Six basic emotions and contempt, as in DFME and CK+.
        ANY: _Entry(
            {
                "happiness": "happiness happy",
                "surprise": _SURPRISE,
                "disgust": "disgust disgusted",
                "sadness": "sadness sad",
                "fear": "fear fearful scared",
                "anger": "anger angry",
                "contempt": "contempt",
            },
            f"{_OTHERS} repression",
        ),
    },
}


def get_class_set(name: str, dataset: str) -> ClassSet:
    """The class set of a dataset.

    Args:
        name: ``3class`` (negative, positive, surprise), ``4class``, ``5class`` or ``7class``.
        dataset: name of the dataset, as in the index.

    Raises:
        DadnetError: if there is no such class set for the dataset; the message lists those
            that there are.
    """
    entries = CLASS_SETS.get(name, {})
    entry = entries.get(dataset, entries.get(ANY))
    if entry is None:
        available = [n for n, sets in CLASS_SETS.items() if dataset in sets or ANY in sets]
        raise DadnetError(
            f"no class set {name!r} for dataset {dataset!r}; available: {', '.join(available)}"
        )
    mapping = {e: label for label, words in entry.emotions.items() for e in words.split()}
    return ClassSet(name, tuple(entry.emotions), mapping, frozenset(entry.dropped.split()))


def known_emotions(dataset: str) -> frozenset[str]:
    """Every emotion that some class set of the dataset maps or leaves out."""
    known: set[str] = set()
    for entries in CLASS_SETS.values():
        entry = entries.get(dataset, entries.get(ANY))
        if entry is not None:
            known.update(" ".join((*entry.emotions.values(), entry.dropped)).split())
    return frozenset(known)
