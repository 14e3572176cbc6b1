"""The apex of a clip: the annotated frame, or what the user's rule takes in its place."""

from collections.abc import Iterable

from dadnet.base.errors import DadnetError
from dadnet.config.ingest import ApexRule
from dadnet.datasets.index import Notes

# What the ingest reads as: look for the frame with the largest motion.
SEARCHED = -1


def check_apex(apex: int, onset: int, offset: int | None) -> None:
    """Raise a `DadnetError` unless the apex is after the onset and up to the offset."""
    if not (onset < apex and (offset is None or apex <= offset)):
        until = "" if offset is None else f" and up to the offset {offset}"
        raise DadnetError(f"the apex {apex} is not after the onset {onset}{until}")


def choose_apex(
    apex: int | None,
    onset: int,
    offset: int | None,
    frames: Iterable[int],
    rule: ApexRule,
    notes: Notes,
    clip_id: str,
    wrong: str = "",
) -> int:
    """The number of the apex frame, which is after the onset and up to the offset.

    Args:
        apex: the annotated number, None if there is none.
        onset: number of the onset frame.
        offset: number of the offset frame, None if it is unknown.
        frames: numbers of the frames on disk.
        rule: what to do if the apex is unknown or out of order.
        notes: gets a remark on a clip whose apex was replaced.
        clip_id: of the clip, for the remark.
        wrong: why the annotated apex cannot be used, if its number does not show it.

    Returns:
        The number; `SEARCHED` if the rule is ``flow-peak`` and the apex cannot be used.

    Raises:
        DadnetError: if the clip cannot be used.
    """
    if apex is not None and not wrong:
        try:
            check_apex(apex, onset, offset)
        except DadnetError as error:
            wrong = str(error)
        else:
            return apex
    if offset is None:
        raise DadnetError(f"{wrong or 'the apex is unknown'}; without an offset no rule helps")
    if offset <= onset:
        raise DadnetError(wrong or f"the offset {offset} is not after the onset {onset}")
    if rule == "drop":
        raise DadnetError(
            f"{wrong or 'the apex is unknown'}; --apex midpoint would take the middle, --apex "
            "flow-peak the frame that moved most"
        )
    between = [n for n in frames if onset < n <= offset]
    if not between:
        raise DadnetError(f"no frame after the onset {onset} and up to the offset {offset}")
    if wrong:
        notes.add(f"the annotated apex cannot be used: {rule}", f"{clip_id} ({wrong})")
    else:
        notes.add(f"the apex is not annotated: {rule}")
    if rule == "flow-peak":
        return SEARCHED
    middle = (onset + offset) // 2
    return min(between, key=lambda n: (abs(n - middle), n))
