"""The datasets that subjects belong to, by the way their ids are written.

Challenge logs and the public archive name subjects without their dataset. The ids of the four
public sets do not overlap: CASME II ``sub01``, SMIC ``s01``, SAMM ``006``, CAS(ME)^3 ``spNO.1``.
"""

import re
import unicodedata
from collections.abc import Iterable

from dadnet.base.errors import DadnetError

# Names of composites and their datasets, sorted; other composites are joined by "+".
COMPOSITES = {"megc2019": ("casme2", "samm", "smic")}

_SUBJECTS = {
    "casme2": re.compile(r"sub[0-9]{2}", re.IGNORECASE),
    "smic": re.compile(r"s[0-9]{2}", re.IGNORECASE),
    "samm": re.compile(r"[0-9]{3}"),
    "casme3": re.compile(r"spNO\.?[0-9]+", re.IGNORECASE),
}
_CLIPS = {
    "casme2": re.compile(r"EP[0-9].*", re.IGNORECASE),
    "smic": re.compile(r"s[0-9]+_(?:ne|po|sur)_[0-9]+", re.IGNORECASE),
    "samm": re.compile(r"[0-9]{3}_[0-9]+_[0-9]+"),
}
_NEVER = re.compile(r"(?!)")


def dataset_of_subject(name: str) -> str:
    """The dataset of a subject.

    >>> dataset_of_subject("sub01"), dataset_of_subject("s01"), dataset_of_subject("006")
    ('casme2', 'smic', 'samm')

    Raises:
        DadnetError: if the id is like none of them.
    """
    for dataset, pattern in _SUBJECTS.items():
        if pattern.fullmatch(name):
            return dataset
    raise DadnetError(
        f"subject {name!r}: expected an id like sub01 (casme2), s01 (smic), 006 (samm) or spNO.1 "
        "(casme3); --dataset NAME says which dataset all subjects are of"
    )


def clip_pattern(dataset: str) -> re.Pattern[str]:
    """What the names of a dataset's clips look like; matches nothing where it is not known."""
    return _CLIPS.get(dataset, _NEVER)


# Names of datasets in logs, in lower case and without blanks, hyphens and underscores.
_PRINTED = {"casmeii": "casme2", "smichs": "smic", "casmeiii": "casme3", "cas(me)^3": "casme3"}
_PLAIN_IDS = {
    "casme2": (re.compile(r"(?:sub)?0*([0-9]{1,2})", re.IGNORECASE), "sub{:02d}"),
    "smic": (re.compile(r"s?0*([0-9]{1,2})", re.IGNORECASE), "s{:02d}"),
    "samm": (re.compile(r"0*([0-9]{1,3})"), "{:03d}"),
}


def canonical_dataset(name: str) -> str:
    """The name of a dataset as the index has it: ``CASME-II`` is casme2."""
    plain = re.sub(r"[\s_-]+", "", name).lower()
    return _PRINTED.get(plain, plain if plain in _SUBJECTS else name)


def canonical_subject(dataset: str, name: str) -> str:
    """A subject's id as the dataset writes it: ``6`` of samm is 006, ``s1`` of smic is s01."""
    pattern, form = _PLAIN_IDS.get(dataset, (_NEVER, ""))
    match = pattern.fullmatch(name)
    return form.format(int(match[1])) if match else name


def plain_name(name: str) -> str:
    """A name in Unicode's composed form (NFC), with plain blanks and without invisible letters.

    >>> plain_name("Rene\u0301\u200b ") == "Ren\u00e9"
    True
    """
    composed = unicodedata.normalize("NFC", name)
    return " ".join("".join(c for c in composed if unicodedata.category(c) != "Cf").split())


def spelling_key(name: str) -> str:
    """What all ways of writing a subject share: `sub01`, `SUB01`, `sub 01` and their Unicode forms.

    Reference: the compatibility forms and the case folding of the Unicode Standard, Annex 15.
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize(
        "NFKC", "".join(c for c in plain if unicodedata.category(c)[0] not in "ZC")
    )


def two_spellings(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two of these names that are one name in two spellings; None if there are none."""
    known: dict[str, str] = {}
    for name in sorted(set(names)):
        first = known.setdefault(spelling_key(name), name)
        if first != name:
            return first, name
    return None
