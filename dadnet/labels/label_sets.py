"""Label sets: class sets in which a clip has any number of labels, each learnt separately.

Labels are the emotions of a clip (4DME), or its action units. Side and level of a unit are ignored:
``L4``, ``4`` and ``4B`` are AU4, since scores count which units move (MEB, tvaranka/meb; "Data
Leakage and Evaluation Issues in Micro-Expression Analysis", Varanka et al. 2023). As there, a clip
with no unit of the set is a clip without a label. A clip with a blank cell was not coded and is
dropped, and so is one without a certain unit (``?``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dadnet.base.errors import DadnetError
from dadnet.labels.action_codes import coded_units, is_list_of_units
from dadnet.labels.tasks import NO_LABEL, text_of

Column = Literal["emotion", "action_units"]


@dataclass(frozen=True)
class LabelSet:
    """Labels of a dataset.

    Attributes:
        name: name of the set, such as ``action-units``.
        classes: names of the labels in the order of the model's outputs.
        column: the column of the index with the labels.
    """

    name: str
    classes: tuple[str, ...]
    column: Column
    multi_label = True

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DadnetError(f"class set {self.name}: expected two or more different labels")
        if NO_LABEL in self.classes or any("+" in name for name in self.classes):
            raise DadnetError(f"class set {self.name}: a label may not be {NO_LABEL} or have a +")

    def label(self, text: str, clip_id: str = "") -> str | None:
        """The labels of a clip, joined by "+"; ``none`` without one; None if the clip is dropped.

        Raises:
            DadnetError: if the text is unknown.
        """
        read = self._read(text)
        if read is None:
            raise DadnetError(f"class set {self.name}: {clip_id or 'a clip'}: unknown {text!r}")
        sure, unsure = read
        if not sure | unsure or unsure & set(self.classes) or self.uncertain(text):
            return None
        return text_of(tuple(name for name in self.classes if name in sure))

    def unknown(self, texts: Iterable[str]) -> set[str]:
        """The texts that are not labels."""
        return {text for text in texts if self._read(text) is None}

    def why_dropped(self, text: str) -> str:
        """The reason for leaving out a clip with this text."""
        if not text.strip():
            return "no unit coded"
        return "no certain unit" if self.uncertain(text) else f"alternatives {text}"

    def uncertain(self, text: str) -> bool:
        """Whether a clip was coded, but no unit of it is certain: ``?``, ``ref(24)``."""
        if self.column == "emotion" or not text.strip():
            return False
        return not coded_units(text)[0] and not is_list_of_units(text)

    def _read(self, text: str) -> tuple[set[str], set[str]] | None:
        """The labels of a clip, and its uncertain labels; None if the text is unknown."""
        if self.column == "emotion":
            emotions = set(text.split("+"))
            return (emotions, set()) if emotions <= set(self.classes) else None
        sure, unsure = ({f"AU{number}" for number in numbers} for numbers in coded_units(text))
        return sure, unsure


def _units(numbers: str) -> tuple[str, ...]:
    return tuple(f"AU{number}" for number in numbers.split())


# Units that MEB scores in each dataset; the others have too few clips to be learnt and tested on
# left-out subjects. "cross" is its list for all sets together (CD6ME).
_CROSS = _units("1 2 4 5 6 7 9 10 12 14 15 17")
_ACTION_UNITS: Mapping[str, tuple[str, ...]] = {
    "casme2": _units("1 2 4 7 12 14 15 17"),
    "samm": _units("2 4 7 12"),
    "fourdme": _units("1 2 4 6 7 12 17 45"),
    # Without a list for the set: that of all sets together.
    **dict.fromkeys(("casme3", "casme3c", "dfme"), _CROSS),
    # Each of these has about a fifth of the clips or more.
    **dict.fromkeys(("synthetic", "synthetic-macro"), _units("1 4 9 12 15")),
}
# Sets without units.
_WITHOUT_UNITS = ("smic", "ckplus")
_EMOTIONS = {"fourdme": ("positive", "negative", "surprise", "repression", "others")}


def label_sets_of(dataset: str) -> tuple[LabelSet, ...]:
    """The label sets of a dataset."""
    sets = []
    if dataset in _EMOTIONS:
        sets.append(LabelSet("5class-multi", _EMOTIONS[dataset], "emotion"))
    if dataset in _ACTION_UNITS:
        sets.append(LabelSet("action-units", _ACTION_UNITS[dataset], "action_units"))
    if dataset not in (*_WITHOUT_UNITS, "synthetic", "synthetic-macro"):
        sets.append(LabelSet("action-units-12", _CROSS, "action_units"))
    return tuple(sets)
