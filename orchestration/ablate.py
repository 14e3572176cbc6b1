"""Run a grid of ablations as experiments of the ledger, and compare each with the base.

`python -m orchestration.ablate --preset dfme-7class --flows flows/dfme --macro-weights
teacher.safetensors` takes modules and alignments off the recipe. Every variant is an experiment
like any other: what the ledger has is not run again, and the same command goes on where it was.
`--dry-run` says how many trainings it takes. Exit status: 0 done, 2 bad input, 3 incomplete.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file
from dadnet.config.experiment import DataConfig
from dadnet.config.presets import PRESETS, get_preset
from orchestration.ablation_grid import Variant, make_grid
from orchestration.folds.flags import RunFlags
from orchestration.folds.plan import Inputs, Plan, load_inputs, plan_of
from orchestration.run_loso import check_device, cost_here, find_inputs, make_missing, remove_folder
from results.ledger.ledger import Ledger
from results.pages.ablation import (
    ablation_page_name,
    ablation_table,
    make_ablation,
    render_ablation,
)

# A preset with the data it was made for; what the words say of the data wins.
_RECIPES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    f"dfme-{class_set}": (
        "reference-v2",
        {"dataset": "dfme", "class_set": class_set, "protocol": "official"},
    )
    for class_set in ("3class", "4class", "7class")
}


@dataclass(frozen=True, kw_only=True)
class AblateFlags(RunFlags):
    """What to vary and where to run it; the flags of the experiment say what the base is."""

    preset: str = "smoke"
    """Recipe of the base: smoke, reference-v1, reference-v2, or dfme-3class, dfme-4class,
    dfme-7class: reference-v2 on the official split of DFME."""
    grid: tuple[str, ...] = ("modules", "alignment")
    """What is varied: modules (8 variants), alignment (16), weight (5)."""
    site: Path = Path("site")
    """Folder for the page."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.only:
            raise DadnetError("only: an ablation compares whole experiments; leave the option out")


def parse_flags(argv: Sequence[str]) -> AblateFlags:
    """Flags of an ablation; those of the experiment that are not given come from the preset.

    Raises:
        DadnetError: if the words do not fit.
    """
    prog, description = "python -m orchestration.ablate", __doc__ or ""
    given = AblateFlags()
    if not {"--help", "-h"} & set(argv):  # read twice, as run_loso does
        given = cli.parse(AblateFlags, argv, prog=prog, description=description)
    if given.preset not in (*PRESETS, *_RECIPES):
        raise DadnetError(
            f"preset: expected one of {', '.join((*PRESETS, *_RECIPES))}, got {given.preset!r}"
        )
    said = given.experiment.data
    name, meant = _RECIPES.get(given.preset, (given.preset, {}))
    data = DataConfig(dataset=said.dataset, class_set=said.class_set, selection=said.selection)
    data = replace(data, **meant)
    default = replace(AblateFlags(), experiment=get_preset(name, data))
    return cli.parse(AblateFlags, argv, default=default, prog=prog, description=description)


def run(flags: AblateFlags, console: Console) -> int:
    """Run the missing folds of every variant, print the table and write the page.

    Returns:
        Exit status: 0 if every fold of every variant is in the ledger, else 3.

    Raises:
        DadnetError: if the input cannot be used.
    """
    variants = make_grid(flags.experiment, flags.grid)
    flows, macro_weights = find_inputs(flags, console)
    inputs = load_inputs(flags.experiment, flows, macro_weights)
    ledger = Ledger(flags.ledger)
    plans = plan_variants(variants, inputs)
    if flags.fresh and not flags.dry_run:
        for _, plan in plans:
            remove_folder(ledger.folder(plan.experiment))
    missing = {plan.experiment.digest: ledger.missing(plan.experiment) for _, plan in plans}
    _print_plan(plans, missing, flags, console)
    if flags.dry_run:
        return cli.DONE
    if any(missing.values()):
        check_device(flags)
    for number, (name, plan) in enumerate(plans, start=1):
        ledger.open(plan.experiment)
        if missing[plan.experiment.digest]:
            console.print(f"{number} of {len(plans)}: {name}", markup=False)
            own = replace(flags, experiment=plan.config)
            make_missing(own, plan, missing[plan.experiment.digest], console)
            if ledger.missing(plan.experiment):
                break  # interrupted, or a fold failed for good: said above
    return _show(flags, ledger, plans, console)


def plan_variants(variants: Sequence[Variant], inputs: Inputs) -> list[tuple[str, Plan]]:
    """The plan of every variant; two that are one experiment, such as two baselines, are one."""
    plans: dict[str, tuple[str, Plan]] = {}
    for variant in variants:
        alone = variant.config.model.model_type != "dad_net"
        plan = plan_of(variant.config, replace(inputs, teacher=None) if alone else inputs)
        plans.setdefault(plan.experiment.digest, (variant.name, plan))
    return list(plans.values())


def _print_plan(
    plans: Sequence[tuple[str, Plan]],
    missing: Mapping[str, tuple[str, ...]],
    flags: AblateFlags,
    console: Console,
) -> None:
    base = plans[0][1]
    left = sum(map(len, missing.values()))
    total = sum(len(plan.folds) for _, plan in plans)
    console.print(
        f"base {base.experiment.digest}: {base.experiment.method}, {base.experiment.dataset}, "
        f"{base.experiment.protocol}, {base.experiment.class_set}, selection "
        f"{base.experiment.selection}",
        markup=False,
    )
    console.print(
        f"{len(plans)} experiments with {len(base.folds)} folds each: {total} trainings, "
        f"{total - left} done, {left} to run",
        markup=False,
    )
    if not flags.dry_run:
        return
    for name, plan in plans:
        todo = len(missing[plan.experiment.digest])
        console.print(f"  {plan.experiment.digest} {name}: {todo} to run", markup=False)
    if left:
        cost, workers = cost_here(flags, base, tuple(fold.name for fold in base.folds), console)
        every = [s for _, p in plans for s in cost.of(p, missing[p.experiment.digest]).fold_s]
        line = replace(cost, fold_s=tuple(every)).line(workers)
        console.print(f"{line}, if a variant's step costs what the base's does", markup=False)


def _show(
    flags: AblateFlags, ledger: Ledger, plans: Sequence[tuple[str, Plan]], console: Console
) -> int:
    found = make_ablation(ledger, [(name, plan.experiment) for name, plan in plans])
    console.print(ablation_table(found), markup=False)
    path = flags.site / ablation_page_name(found)
    replace_file(path, render_ablation(found))
    console.print(f"wrote {path}", markup=False)
    if found.complete:
        return cli.DONE
    console.print("incomplete: give the same command again to run the missing folds", markup=False)
    return cli.INCOMPLETE


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit status."""
    return cli.run_command(lambda words: run(parse_flags(words), cli.console()), argv)


if __name__ == "__main__":
    sys.exit(main())
