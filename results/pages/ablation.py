"""An ablation: variants of one experiment, each compared with it over the same subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from dadnet.base.errors import DadnetError
from results.leaderboard.rows import Row
from results.leaderboard.text import printed, titled_table
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment
from results.pages.rendering import page_name, render
from results.statistics.compare import LEVEL, Difference, difference, holm
from results.statistics.summary import Score
from results.statistics.tallies import read_tallies


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: what was changed.
        row: of its experiment.
        found: its UF1 minus that of the base; None for the base, and where either is incomplete.
        p: of `found`, Holm-corrected over the table.
    """

    name: str
    row: Row
    found: Difference | None
    p: float | None


@dataclass(frozen=True)
class Ablation:
    """The table: the base first, then its variants in the order of the grid."""

    variants: tuple[Variant, ...]

    @property
    def base(self) -> Variant:
        """What the variants are compared with."""
        return self.variants[0]

    @property
    def complete(self) -> bool:
        """Whether every fold of every variant is finished."""
        return all(variant.row.complete for variant in self.variants)

    @property
    def num_tests(self) -> int:
        """Variants that could be compared."""
        return sum(variant.found is not None for variant in self.variants)


def make_ablation(ledger: Ledger, named: Sequence[tuple[str, Experiment]]) -> Ablation:
    """Compare variants with the first of them, as far as their folds are there.

    Args:
        ledger: where the folds are.
        named: name and experiment, the base first.

    Raises:
        DadnetError: if there is no variant beside the base, or a complete one scored other clips.
    """
    if len(named) < 2:
        raise DadnetError("ablation: expected variants beside the base, got none")
    experiments = [experiment for _, experiment in named]
    rows = [
        Row(e, tallies.num_done, tallies.summary, tallies.counts)
        for e, tallies in zip(experiments, read_tallies(ledger, experiments), strict=True)
    ]
    base = rows[0]
    differences = [
        difference(row.counts, base.counts) if base.complete and row.complete else None
        for row in rows[1:]
    ]
    corrected = iter(holm([item.p for item in differences if item is not None]))
    variants = [Variant(named[0][0], base, None, None)]
    for (name, _), row, item in zip(named[1:], rows[1:], differences, strict=True):
        variants.append(Variant(name, row, item, next(corrected) if item is not None else None))
    return Ablation(tuple(variants))


def ablation_page_name(ablation: Ablation) -> str:
    """Return the file name of the page, by the base's digest."""
    return f"ablation-{ablation.base.row.experiment.digest}.html"


def render_ablation(ablation: Ablation) -> str:
    """Return the page."""
    experiment = ablation.base.row.experiment
    return render(
        "ablation.html.j2",
        of=experiment.dataset,
        ablation=ablation,
        experiment=experiment,
        leaderboard_page=f"{page_name(experiment.dataset)}.html",
        level=LEVEL,
    )


def ablation_table(ablation: Ablation, width: int = 120) -> str:
    """Return the table as plain text."""
    experiment = ablation.base.row.experiment
    title = (
        f"{experiment.method}, {experiment.dataset}, {experiment.protocol}, "
        f"{experiment.class_set}: UF1 of each variant, and its difference to the base"
    )
    table = titled_table(title)
    numbers, interval = ("UF1", "difference", "p (Holm)"), "95 % interval"
    for name in ("variant", "experiment", "UF1", interval, "difference", interval, "p (Holm)"):
        table.add_column(Text(name), justify="right" if name in numbers else "left")
    for variant in ablation.variants:
        table.add_row(*map(Text, _cells(variant)))
    tests = ablation.num_tests
    note = Text(
        f"p: whole subjects swapped between variant and base, two-sided, corrected by Holm "
        f"for {tests} {'test' if tests == 1 else 'tests'}"
    )
    return printed([table, note], width)


def _cells(variant: Variant) -> tuple[str, ...]:
    row, difference = variant.row, variant.found
    name = (variant.name, row.experiment.digest)
    if row.summary is None:  # no figure over the folds that happen to be there
        return (*name, f"{row.num_done} of {row.num_planned} folds", "", "", "", "")
    uf1: Score = row.summary.uf1
    figures = (*name, "" if uf1.value is None else f"{uf1.value:.3f}", uf1.interval.text())
    if difference is None:
        return (*figures, "", "", "")
    return (*figures, f"{difference.value:+.3f}", difference.interval.text("+"), f"{variant.p:.4f}")
