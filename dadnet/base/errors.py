"""The errors that users see, under one base class, and the wording that they share."""

import difflib
from collections.abc import Iterable


class DadnetError(ValueError):
    """Input that cannot be used; the message is one line for the user, the exit status is 2."""


class StorageError(DadnetError):
    """A disk or an object storage cannot be read or written; the message is one line."""


class OutsideError(RuntimeError):
    """What a run needs beside its input has failed, as a Ray that cannot start.

    The message is one line for the user, the exit status is 3.
    """


class AuditError(DadnetError):
    """The data or the plan would leak test information; training was refused."""


class TestLabelError(DadnetError):
    """A test clip was requested where none is allowed, as during a search."""

    __test__ = False  # for pytest, which would take the name for a test


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; its type without a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def listed(names: Iterable[object], most: int = 5) -> str:
    """Return names with commas between; of more than `most`, the first and how many follow.

    A text of a user may be of any length, so that every name is cut to 40 characters.
    """
    shown = [text if len(text) <= 40 else f"{text[:37]}..." for text in map(str, names)]
    more = len(shown) - most
    return ", ".join(shown) if more <= 0 else f"{', '.join(shown[:most])} and {more} more"


def meant(got: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" if a known name is near to what came, else ""."""
    nearest = difflib.get_close_matches(got[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def unknown(what: str, got: str, known: Iterable[str]) -> DadnetError:
    """Return the error of a name that is not one of the known ones; it names the nearest."""
    names = list(known)
    return DadnetError(
        f"{what}: expected one of {listed(names, 30)}, got {listed([repr(got)])}{meant(got, names)}"
    )


def grouped(reasons: Iterable[tuple[str, str]], most: int = 140) -> str:
    """Return reasons of many things in one text of at most so many characters.

    Reasons that differ only in what stands in quotation marks are one, which lists these words.

    Args:
        reasons: what is concerned, and the reason.
        most: characters.
    """
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, reason in reasons:
        before, _, rest = reason.partition("'")
        quoted, _, after = rest.partition("'")
        groups.setdefault(f"{before}{after}", []).append((name, reason, quoted))
    texts = []
    for members in sorted(groups.values(), key=len, reverse=True):
        name, reason, quoted = members[0]
        words = listed(f"'{word}'" for word in dict.fromkeys(m[2] for m in members))
        alike = f" and {len(members) - 1} like it" if len(members) > 1 else ""
        text = reason.replace(f"'{quoted}'", words, 1)
        texts.append(f"{name}{alike}: {text}")
    text = "; ".join(texts)
    return text if len(text) <= most else f"{text[: most - 3].rstrip()}..."
