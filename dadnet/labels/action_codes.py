"""Action units as text: one spelling for the many of the annotations."""

import re

# With the full-width comma of part C of CAS(ME)^3.
_SEPARATORS = re.compile("\\s*[+,;/\uff0c\u3001]\\s*|\\s+")
_UNIT = re.compile(r"(?:AU)?([LRTBAU]*)(?:AU)?([0-9]{1,2})([A-E]?)", re.IGNORECASE)
_STATIC = re.compile(r"\(k\)", re.IGNORECASE)


def clean_units(text: str) -> str:
    """Units joined by "+": ``AU4, L12 (k)`` becomes ``4``.

    Sides and levels stay (``L12``, ``14A``); units marked ``(k)`` in 4DME existed before the
    expression and are left out; alternatives (``12 or 14``) are joined by "|". Other text is
    returned unchanged.
    """
    words = re.sub(r"\s*\bor\b\s*", "|", text.strip(), flags=re.IGNORECASE)
    words = re.sub(r"\s+\(", "(", words)
    words = re.sub(r"\bAU\s+", "AU", words, flags=re.IGNORECASE)
    units: list[str] = []
    for word in _SEPARATORS.split(words):
        if not word or _STATIC.search(word):
            continue
        options = [_unit(option) for option in word.split("|") if option]
        if not options or not all(options):
            return text.strip()
        units.append("|".join(options))
    return "+".join(units)


def _unit(word: str) -> str:
    match = _UNIT.fullmatch(word)
    if match is None:
        return ""
    side = match[1].upper().replace("AU", "")
    return f"{side}{int(match[2])}{match[3].upper()}"


def coded_units(text: str) -> tuple[frozenset[int], frozenset[int]] | None:
    """Numbers of the units of a cell, and of its alternatives (``12|14``), of which one moved.

    Sides and levels are ignored. Both sets are empty if nothing was coded; the result is None if
    the text is not a list of units.
    """
    sure: set[int] = set()
    unsure: set[int] = set()
    for word in filter(None, clean_units(text).split("+")):
        matches = [_UNIT.fullmatch(option) for option in word.split("|")]
        numbers = {int(match[2]) for match in matches if match is not None}
        if not all(matches):
            return None
        (sure if len(numbers) == 1 else unsure).update(numbers)
    return frozenset(sure), frozenset(unsure - sure)
