"""Action units as text: one spelling for the many of the annotations."""

import re

# With the full-width comma of part C of CAS(ME)^3.
_SEPARATORS = re.compile("\\s*[+,;/\uff0c\u3001]\\s*|\\s+")
_UNIT = re.compile(r"(?:AU)?([LRTBAU]*)(?:AU)?([0-9]{1,2})([A-E]?)", re.IGNORECASE)
_STATIC = re.compile(r"\(k\)", re.IGNORECASE)
# Codes of FACS that are no action units: descriptors (AD38) and movements of the head (M58).
_DESCRIPTOR = re.compile(r"(?:AD|M)[0-9]{1,2}[A-E]?", re.IGNORECASE)
# One of several letters: a level (10A/B) or a side (A/L12).
_LEVELS = re.compile(r"(?<=[0-9])([A-E])\s*/\s*[A-E](?![0-9A-Z])", re.IGNORECASE)
_SIDES = re.compile(r"(?<![0-9A-Z])[LRTBAU]\s*/\s*(?=[LRTBAU][0-9])", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"\(([^()]*\|[^()]*)\)")


def clean_units(text: str) -> str:
    """Units joined by "+": ``AU4, L12 (k)`` becomes ``4``.

    Sides and levels stay (``L12``, ``14A``); units marked ``(k)`` in 4DME existed before the
    expression and are left out; alternatives (``12 or 14``) are joined by "|". Other text is
    returned unchanged.
    """
    units: list[str] = []
    for word in _words(text):
        options = [_unit(option) for option in word.split("|") if option]
        if not options or not all(options):
            return text.strip()
        units.append("|".join(options))
    return "+".join(units)


def is_list_of_units(text: str) -> bool:
    """Whether every word of a cell is a unit, or alternatives of units."""
    words = [word for word in clean_units(text).split("+") if word]
    return all(_UNIT.fullmatch(option) for word in words for option in word.split("|"))


def _words(text: str) -> list[str]:
    """The words between separators; alternatives are one word, joined by "|"."""
    words = re.sub(r"\s*\bor\b\s*", "|", text.strip(), flags=re.IGNORECASE)
    words = re.sub(r"\s+\(", "(", words)
    words = re.sub(r"\bAU\s+", "AU", words, flags=re.IGNORECASE)
    return [w for w in _SEPARATORS.split(words) if w and not _STATIC.search(w)]


def _unit(word: str) -> str:
    match = _UNIT.fullmatch(word)
    if match is None:
        return ""
    side = match[1].upper().replace("AU", "")
    return f"{side}{int(match[2])}{match[3].upper()}"


def coded_units(text: str) -> tuple[frozenset[int], frozenset[int]]:
    """Numbers of the units of a cell that moved, and of those that may have moved.

    Sides and levels are ignored, and so are descriptors (``AD38``, ``M58``) and remarks (``soft
    focus``). A unit may have moved if it is one of several (``12 or 14``), or has a question mark
    or a remark beside it (``4?``, ``ref(24)``). Both sets are empty if no unit was coded.
    """
    text = re.sub(r"\b([0-9]{1,2})\.0\b", r"\1", text)  # a spreadsheet's 12.0
    text = _SIDES.sub("", _LEVELS.sub(r"\1", text))
    text = re.sub(r"\s*\bor\b\s*", "|", text.strip(), flags=re.IGNORECASE)
    text = _ALTERNATIVES.sub(lambda m: re.sub(r"\s*\|\s*", "|", m[1]).strip(), text)
    sure: set[int] = set()
    unsure: set[int] = set()
    for word in _words(text):
        options = [option for option in word.split("|") if option]
        matches = [_UNIT.fullmatch(option) for option in options]
        if options and all(matches):
            numbers = {int(match[2]) for match in matches if match is not None}
            (sure if len(numbers) == 1 else unsure).update(numbers)
        elif not _DESCRIPTOR.fullmatch(word):
            rest = re.sub(r"(?:AD|M)[0-9]+", "", word, flags=re.IGNORECASE)
            unsure.update(int(n) for n in re.findall(r"(?<![0-9])[0-9]{1,2}(?![0-9])", rest))
    return frozenset(sure), frozenset(unsure - sure)
