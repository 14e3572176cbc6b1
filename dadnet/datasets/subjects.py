"""The datasets that subjects belong to, by the way their ids are written.

Challenge logs and the public archive name subjects without their dataset. The ids of the four
public sets do not overlap: CASME II ``sub01``, SMIC ``s01``, SAMM ``006``, CAS(ME)^3 ``spNO.1``.
"""

import re

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
