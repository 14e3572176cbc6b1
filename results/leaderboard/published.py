"""Published figures beside ours: what was reported, what the same method gives here, and why not.

`published.csv` is part of the package. A figure is only ever shown with its source and with what
chose its epoch, as far as either is known; it is never ranked.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import msgspec
import numpy as np

from dadnet.base.errors import DadnetError
from results.statistics.counts import Counts
from results.statistics.resampling import pooled_uf1

WHOLE = ("full", "all")

# What each code of `reasons_of` means for the number.
REASONS = {
    "test-peeking": "its epoch was chosen on the test subject, which raises the figure",
    "fold-averaged": "its figure is a mean over subjects, ours is of all clips together",
    "other class set": "it is over other classes",
    "other n": "it is over another number of clips",
    "selection unknown": "no source says how its epoch was chosen",
}


class Published(msgspec.Struct, frozen=True):
    """One line of `published.csv`.

    Attributes:
        part: the whole (`WHOLE`), or one dataset of a composite.
        num_clips: of the protocol; None where it is not known.
        uf1, uar: as reported; None where not reported.
        selection: ``fixed``, ``test-peeking`` or ``unknown``; averaging: ``pooled``, ``folds``
            or ``unknown``.
        source: where the figure was read; read_at: ``primary`` (its authors) or ``secondary``.
        link: of the paper; note: what to know of the figures. None without one.
    """

    dataset: str
    protocol: str
    part: str
    num_classes: int
    num_clips: int | None
    method: str
    year: int
    uf1: float | None
    uar: float | None
    selection: str
    averaging: str
    source: str
    read_at: str
    link: str | None
    note: str | None


@dataclass(frozen=True)
class Reported:
    """A published figure beside ours.

    Attributes:
        ours: UF1 of our best row of the same method on the same part; None if there is none.
        digest: of that row's experiment.
        reasons: why the two may differ, as codes: ``test-peeking``, ``fold-averaged``,
            ``other class set``, ``other n``, ``selection unknown``.
    """

    published: Published
    ours: float | None
    digest: str | None
    reasons: tuple[str, ...]

    @property
    def gap(self) -> float | None:
        """Ours minus reported, in UF1."""
        if self.ours is None or self.published.uf1 is None:
            return None
        return self.ours - self.published.uf1


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """Return the packaged figures, in the file's order.

    Raises:
        DadnetError: if the file has other columns or an entry is no figure.
    """
    text = (files("results") / "published.csv").read_text(encoding="utf-8")
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        if (columns := tuple(reader.fieldnames or ())) != Published.__struct_fields__:
            raise DadnetError(f"expected columns {Published.__struct_fields__}, got: {columns}")
        rows = [{name: value or None for name, value in row.items()} for row in reader]
        return msgspec.convert(rows, tuple[Published, ...], strict=False)
    except ValueError as error:
        raise DadnetError(f"published.csv: {error}") from error


def beside(
    dataset: str, protocol: str, num_classes: int, ours: Sequence[tuple[str, str, Counts]]
) -> tuple[Reported, ...]:
    """Return the published figures of a dataset and protocol, each with ours if there is one.

    Args:
        dataset, protocol: of the group.
        num_classes: of the group; figures over other classes come with a reason and without ours.
        ours: method, digest and counts of our ranked rows, best first.
    """
    lines = [row for row in published() if (row.dataset, row.protocol) == (dataset, protocol)]
    return tuple(_beside(row, num_classes, ours) for row in lines)


def _beside(row: Published, num_classes: int, ours: Sequence[tuple[str, str, Counts]]) -> Reported:
    same = [item for item in ours if same_method(row.method, item[0])]
    if row.num_classes != num_classes or not same:
        return Reported(row, None, None, reasons_of(row, num_classes, None))
    _, digest, counts = same[0]
    chosen = [row.part in WHOLE or name.split("/")[0] == row.part for name in counts.subjects]
    stack = counts.confusions[np.array(chosen)]
    if not len(stack):
        return Reported(row, None, None, reasons_of(row, num_classes, None))
    uf1 = pooled_uf1(stack)
    return Reported(row, uf1, digest, reasons_of(row, num_classes, int(stack.sum())))


def same_method(reported: str, ours: str) -> bool:
    """Whether ours is the method, with or without more in brackets; case does not count."""
    reported, ours = reported.casefold(), ours.casefold()
    return ours == reported or ours.startswith(f"{reported} (")


def reasons_of(row: Published, num_classes: int, num_clips: int | None) -> tuple[str, ...]:
    """Why a figure over so many classes and clips may differ from a published one, as codes."""
    reasons = {
        "test-peeking": row.selection == "test-peeking",
        "fold-averaged": row.averaging == "folds",
        "other class set": row.num_classes != num_classes,
        "other n": None not in (row.num_clips, num_clips) and row.num_clips != num_clips,
        "selection unknown": row.selection == "unknown",
    }
    return tuple(name for name, holds in reasons.items() if holds)
