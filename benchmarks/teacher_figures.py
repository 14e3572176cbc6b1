"""The figures of the study `teacher_helps.py`: its test, its rule for the demo, and its page.

`python -m benchmarks.teacher_figures --json FILE --page docs/teacher.md` writes the table and what
follows from it into the page, and prints what the demo has to say.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.teacher_helps import SETTINGS
from results.statistics.compare import holm

LEVEL = 0.05
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->"


@dataclass(frozen=True)
class Figures:
    """One setting over its seeds; differences are DAD-Net's UF1 minus the student's."""

    name: str
    student: float
    dad_net: float
    difference: float
    low: float
    high: float
    ahead: int
    seeds: int
    p: float
    holm_p: float


def figures(rows: Sequence[dict[str, Any]]) -> list[Figures]:
    """The settings in their order, with the exact sign-flip test and Holm over them."""
    found = []
    for name in SETTINGS:
        own = [row for row in rows if row["setting"] == name and "refused" not in row]
        if len(own) > 1:
            student, dual = (np.array([row[k] for row in own]) for k in ("student", "dad_net"))
            found.append(_figures(name, student, dual))
    corrected = holm([row.p for row in found])
    return [replace(row, holm_p=p) for row, p in zip(found, corrected, strict=True)]


def _figures(name: str, student: npt.NDArray[np.float64], dual: npt.NDArray[np.float64]) -> Figures:
    change = dual - student
    # With one sample, `samples` flips signs; without a limit, it takes each of the 2^n once.
    test = stats.permutation_test(
        (change,), np.mean, permutation_type="samples", n_resamples=math.inf
    )
    ends = stats.ttest_1samp(change, 0.0).confidence_interval(0.95)
    return Figures(
        name, float(student.mean()), float(dual.mean()), float(change.mean()), float(ends.low),
        float(ends.high), int((change > 0).sum()), len(change), float(test.pvalue), math.nan,
    )  # fmt: skip


def for_demo(found: Sequence[Figures]) -> str | None:
    """The setting that the rule gives to the demo, if it is short enough; None: no help is shown.

    The rule is in the docstring of `teacher_helps.py`, and was fixed before the first result.
    """
    best = max((f for f in found if SETTINGS[f.name].for_demo), key=lambda f: f.difference)
    return best.name if best.difference > 0 and best.holm_p < LEVEL else None


def table(found: Sequence[Figures]) -> str:
    """The page's table, in Markdown."""
    lines = [
        "| setting | student | DAD-Net | difference, 95 % interval | DAD-Net ahead | p | Holm p |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for f in found:
        lines.append(
            f"| {SETTINGS[f.name].words} | {f.student:.3f} | {f.dad_net:.3f} | "
            f"{f.difference:+.3f}, {f.low:+.3f} to {f.high:+.3f} | {f.ahead} of {f.seeds} | "
            f"{f.p:.3f} | {f.holm_p:.3f} |"
        )
    return "\n".join(lines) + "\n"


def conclusion(found: Sequence[Figures]) -> str:
    """What follows from the table, in the words of the design."""

    def listed(sign: int) -> str:
        names = [
            f"{SETTINGS[f.name].words} ({f.difference:+.3f})"
            for f in found
            if f.holm_p < LEVEL and f.difference * sign > 0
        ]
        return "; ".join(names) or "none"

    return (
        f"- DAD-Net ahead of the student alone, Holm p below {LEVEL}: {listed(1)}.\n"
        f"- DAD-Net behind, Holm p below {LEVEL}: {listed(-1)}.\n"
        "- In the others the study does not tell the difference from zero.\n"
        f"- The demo: {' '.join(demo_words(found))}\n"
    )


def demo_words(found: Sequence[Figures]) -> tuple[str, str]:
    """What the demo says of its setting: `orchestration.demo.STUDY`."""
    name = for_demo(found)
    f = next(row for row in found if row.name == (name or "base"))
    helps = "the teacher helps" if name else "the teacher does not help"
    return (
        f"on {f.seeds} other sets of this setting {helps}: DAD-Net minus its student alone",
        f"is {f.difference:+.3f}, 95 % interval {f.low:+.3f} to {f.high:+.3f}, "
        f"Holm p {f.holm_p:.3f} (docs/teacher.md).",
    )


def with_table(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """The text of a page with the table of these rows, and what follows, between its two marks."""
    before, rest = page.split(_BEGIN)
    after, found = rest.split(_END)[1], figures(rows)
    return f"{before}{_BEGIN}\n{table(found)}\n{conclusion(found)}\n{_END}{after}"


def main() -> None:
    """Write the page of stored figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file of the figures")
    parser.add_argument("--page", type=Path, required=True, help="page with the two marks")
    flags = parser.parse_args()
    rows = json.loads(flags.json.read_text("utf-8"))["rows"]
    flags.page.write_text(with_table(flags.page.read_text("utf-8"), rows), encoding="utf-8")
    print(*demo_words(figures(rows)), sep="\n")


if __name__ == "__main__":
    main()
