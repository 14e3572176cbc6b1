"""Run the public recipes and baselines on a dataset and print ours beside the published figures.

`dadnet reproduce megc2019 --flows flows/casme2,flows/samm,flows/smic --without-teacher`. Every
experiment is the command `dadnet loso` that it prints. The same command given again goes on where
it was. Exit status: 0 done, 2 bad input, 3 incomplete.
"""

import csv
import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import tyro
from rich.console import Console

from dadnet.base import cli
from dadnet.base.errors import DadnetError, unknown
from dadnet.config.baselines import BASELINES, ModelType
from orchestration.folds.flags import LOSO, RunFlags

if TYPE_CHECKING:
    from results.leaderboard.rows import Row

# The protocol and class set of the published figures of each dataset.
_SETTINGS = {
    "megc2019": ("cde", "3class-megc"),
    "casme2": ("loso", "3class"),
    "casme3": ("loso", "3class"),
    "fourdme": ("loso", "3class"),
    "dfme": ("official", "3class"),
}
# The public recipes, which need a teacher, and the flag of its weights.
_DUAL = {"reference-v1": "macro_weights", "reference-v2": "macro_weights_v2"}
RECIPES = (*_DUAL, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class ReproduceFlags:
    """The dataset, and which recipes."""

    dataset: Annotated[str, tyro.conf.Positional]
    """One of megc2019, casme2, casme3, fourdme, dfme."""
    flows: str | None = None
    """Folder or URI of the flow store, or several with commas between; default flows/DATASET."""
    ledger: str = "runs"
    """Folder of finished folds, or s3://bucket/folder."""
    class_set: str | None = None
    """Class set; default 3class, for megc2019 3class-megc."""
    recipes: tuple[str, ...] = ()
    """Presets to run, with commas between; default the two public recipes and every baseline."""
    macro_weights: Path | None = None
    """The teacher's weights for reference-v1: ultralight."""
    macro_weights_v2: Path | None = None
    """The teacher's weights for reference-v2: of the size that the recipe has for the dataset."""
    without_teacher: cli.Switch = False
    """Leave out the recipes whose teacher's weights are not given; else they are refused."""
    epochs: int | None = None
    """Epochs of every recipe, to try the command; default each recipe's own."""
    workers: int | None = None
    """As for `dadnet loso`: Ray Train workers at most; 0: in this process, without Ray."""
    stack: int | Literal["auto"] = 1
    """As for `dadnet loso`: folds that a worker trains at once."""
    dry_run: cli.Switch = False
    """Print the plan and the cost of every experiment and of all, and stop."""
    csv: Path | None = None
    """Also write the table to this file."""

    def __post_init__(self) -> None:
        if self.dataset not in _SETTINGS:
            raise unknown("dataset", self.dataset, _SETTINGS)
        for name in self.recipes:
            if name not in RECIPES:
                raise unknown("recipe", name, RECIPES)


@dataclass(frozen=True)
class Line:
    """A figure of ours beside a published one.

    Attributes:
        part: all test clips, or one dataset of a composite.
        ours, published: UF1 and UAR; None where there is none. low, high: our 95 % interval of UF1
            over subjects.
        difference: ours minus published, in UF1; inside: whether the published UF1 lies in our
            interval.
        selection, their_selection: what chose the epoch.
        reasons: why the two may differ; source: where the published figure was read.
    """

    method: str
    digest: str
    part: str
    uf1: float
    uar: float
    low: float | None
    high: float | None
    selection: str
    published: str = ""
    published_uf1: float | None = None
    published_uar: float | None = None
    difference: float | None = None
    inside: bool | None = None
    their_selection: str = ""
    reasons: str = ""
    source: str = ""

    def text(self) -> str:
        """The figures in one line, and below them what explains a difference."""
        span = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        name = self.method + (f", {self.part}" if self.part else "")
        ours = f"{name}: UF1 {self.uf1:.3f}{span}, UAR {self.uar:.3f}, selection {self.selection}"
        if not self.published:
            return f"{ours}\n  no published figure is known"
        figures = [
            f"{title} {value:.3f}"
            for title, value in (("UF1", self.published_uf1), ("UAR", self.published_uar))
            if value is not None
        ]
        rest = f"selection {self.their_selection}"
        if self.difference is not None:
            inside = "in" if self.inside else "outside"
            rest = f"ours {self.difference:+.3f}, {inside} our interval, {rest}"
        lines = [ours, f"  {self.published}: {', '.join(figures)}; {rest}"]
        lines += [f"  may differ: {self.reasons}"] if self.reasons else []
        return "\n".join([*lines, f"  source: {self.source}"])


def commands(flags: ReproduceFlags) -> tuple[list[list[str]], list[str]]:
    """The words of `dadnet loso` for every recipe, and the recipes that are left out.

    Raises:
        DadnetError: if a recipe lacks its teacher and is not to be left out.
    """
    chosen, left_out = [], []
    for name in flags.recipes or RECIPES:
        flag = _DUAL.get(name) if _needs_teacher(flags, name) else None
        weights = None if flag is None else getattr(flags, flag)
        if flag is None or weights is not None:
            chosen.append(_words(flags, name, weights))
        elif flags.without_teacher:
            left_out.append(name)
        else:
            raise DadnetError(
                f"{name}: expected its teacher's weights, got none; give --"
                f"{flag.replace('_', '-')} FILE, or --without-teacher to leave the recipe out"
            )
    if not chosen:
        raise DadnetError("recipes: expected one with its teacher's weights, got none")
    return chosen, left_out


def _class_set(flags: ReproduceFlags) -> str:
    return flags.class_set or _SETTINGS[flags.dataset][1]


def _needs_teacher(flags: ReproduceFlags, recipe: str) -> bool:
    """Reference-v2 weighs the alignment 0 on DFME with 3 and 4 classes: the student is alone."""
    alone = flags.dataset == "dfme" and _class_set(flags) != "7class"
    return recipe in _DUAL and not (recipe == "reference-v2" and alone)


def _words(flags: ReproduceFlags, recipe: str, weights: Path | None) -> list[str]:
    fitted = recipe not in _DUAL and BASELINES[cast("ModelType", recipe)].fitted
    alone = recipe in _DUAL and weights is None
    # Every published recipe but the first has a fixed schedule on LOSO, without validation.
    fixed = recipe != "reference-v1" and flags.dataset != "dfme"
    given = {
        "dataset": flags.dataset, "protocol": _SETTINGS[flags.dataset][0],
        "class-set": _class_set(flags), "preset": recipe,
        "selection": "last" if fixed else None, "model-type": "baseline" if alone else None,
        "flows": flags.flows, "ledger": flags.ledger, "macro-weights": weights,
        "epochs": None if fitted else flags.epochs, "workers": flags.workers,
        "stack": None if flags.stack == 1 else flags.stack,
    }  # fmt: skip
    named = [(name, value) for name, value in given.items() if value is not None]
    return [word for name, value in named for word in (f"--{name}", str(value))]


def run(flags: ReproduceFlags, console: Console) -> int:
    """Run what is missing and print the table; returns the exit status.

    Raises:
        DadnetError: if the input cannot be used.
    """
    from orchestration import run_loso

    chosen, left_out = commands(flags)
    planned = [(words, LOSO.parse(words)) for words in chosen]
    if left_out:
        console.print(f"left out, without a teacher's weights: {', '.join(left_out)}", markup=False)
    status: int = cli.DONE
    digests, total = [], 0.0
    for words, run_flags in planned:
        console.print(f"$ dadnet loso {shlex.join(words)}", markup=False, soft_wrap=True)
        if flags.dry_run:
            total += _print_cost(run_flags, console)
            continue
        outcome = run_loso.run_experiment(run_flags, console)
        status = max(status, outcome.status)
        if outcome.interrupted:
            return status
        if outcome.experiment is not None:
            digests.append(outcome.experiment.digest)
    if flags.dry_run:
        console.print(f"{len(planned)} experiments, {total / 60:.1f} min in all", markup=False)
        return status
    return _show(flags, digests, console, status)


def _print_cost(flags: RunFlags, console: Console) -> float:
    """Print plan and cost of one experiment; returns seconds on this machine."""
    from orchestration.folds.plan import default_flows, load_inputs, plan_of
    from orchestration.run_loso import cost_here
    from results.ledger.ledger import Ledger

    flows = flags.flows or default_flows(flags.experiment.data.dataset)
    inputs = load_inputs(flags.experiment, flows, flags.macro_weights)
    plan = plan_of(flags.experiment, inputs)
    missing = Ledger(flags.ledger).missing(plan.experiment)
    console.print(
        f"{plan.experiment.digest} {plan.experiment.method}: {len(missing)} of "
        f"{len(plan.folds)} folds to run",
        markup=False,
    )
    if not missing:
        return 0.0
    cost, workers = cost_here(flags, plan, missing, console)
    console.print(cost.line(workers), markup=False)
    return cost.wall_s(workers)


def _show(flags: ReproduceFlags, digests: Sequence[str], console: Console, status: int) -> int:
    from results.leaderboard.ranking import leaderboard
    from results.ledger.ledger import Ledger

    ledger = Ledger(flags.ledger)
    ours = [one for one in ledger.experiments() if one.digest in digests]
    board = leaderboard(ledger, experiments=ours)
    lines = [line for group in board.groups for row in group.rows for line in beside_row(row)]
    for line in lines:
        console.print(line.text(), markup=False, soft_wrap=True)
    if flags.epochs is not None:
        console.print(f"with --epochs {flags.epochs}, not the recipes' own: no reproduction")
    console.print("how our networks and recipes differ from each paper's: docs/baselines.md")
    if flags.csv is not None:
        from dadnet.base.location import replace_file

        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Line)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in lines)
        replace_file(flags.csv, text.getvalue())
    if status != cli.DONE:
        console.print("incomplete: an experiment with missing folds has no figure; run it again")
    return status


def beside_row(row: "Row") -> Iterator[Line]:
    """A complete row beside every published figure of its method, part and number of classes."""
    from results.leaderboard.published import REASONS, WHOLE, published, reasons_of, same_method

    experiment, summary = row.experiment, row.summary
    if summary is None or summary.uf1.value is None or summary.uar.value is None:
        return
    span = summary.uf1.interval
    line = Line(
        experiment.method, experiment.digest, row.subset, summary.uf1.value, summary.uar.value,
        span.low, span.high, experiment.selection,
    )  # fmt: skip
    found = [
        theirs
        for theirs in published()
        if (theirs.dataset, theirs.protocol) == (experiment.dataset, experiment.protocol)
        and (theirs.part == row.subset or (not row.subset and theirs.part in WHOLE))
        and theirs.num_classes == len(experiment.classes)
        and same_method(experiment.method, theirs.method)
    ]
    if not found:
        yield line
    for theirs in found:
        codes = reasons_of(theirs, len(experiment.classes), int(row.counts.confusions.sum()))
        reasons = [REASONS[code] for code in codes] + ([theirs.note] if theirs.note else [])
        gap = None if theirs.uf1 is None else line.uf1 - theirs.uf1
        inside = (
            None
            if theirs.uf1 is None or line.low is None or line.high is None
            else line.low <= theirs.uf1 <= line.high
        )
        yield replace(
            line, published=f"{theirs.method} {theirs.year}", published_uf1=theirs.uf1,
            published_uar=theirs.uar, difference=gap, inside=inside,
            their_selection=theirs.selection, reasons="; ".join(reasons), source=theirs.source,
        )  # fmt: skip


REPRODUCE = cli.Command("dadnet reproduce", ReproduceFlags)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return REPRODUCE.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
