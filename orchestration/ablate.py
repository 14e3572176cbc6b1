"""Run a grid of ablations as experiments of the ledger, and compare each with the base.

`python -m orchestration.ablate --preset dfme-7class --flows flows/dfme --macro-weights
teacher.safetensors` removes modules and alignments from the recipe. Every variant is an
experiment like any other: folds in the ledger are not run again, and the same command continues an
interrupted ablation. `--dry-run` prints the number of trainings. Exit status: 0 done, 2 bad input,
3 incomplete.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, compress, product

from dadnet.base import cli
from orchestration.folds.flags import ABLATE, AblateFlags, capped_warmup

if __name__ == "__main__":
    ABLATE.parse_first(__doc__)

from rich.console import Console

from dadnet.base.errors import DadnetError, listed
from dadnet.base.location import stored
from dadnet.config.experiment import ExperimentConfig
from orchestration.folds.plan import Inputs, Plan, load_inputs, plan_of
from orchestration.run_loso import check_device, cost_here, find_inputs, make_missing
from results.ledger.ledger import Ledger
from results.pages import ablation
from results.pages.linking import add_page

WEIGHTS = (0.1, 0.5, 1.0, 1.5, 2.0)
STAGES = (0, 1, 2, 3)


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
    if line := capped_warmup(flags.preset, flags.experiment):
        console.print(line, markup=False)
    if flags.fresh and not flags.dry_run:
        for _, plan in plans:
            stored(ledger.folder(plan.experiment)).remove_tree()
    for _, plan in plans if not flags.dry_run else ():
        ledger.set_damage_aside(plan.experiment)
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
            of_variant = replace(flags, experiment=plan.config)
            make_missing(of_variant, plan, missing[plan.experiment.digest], console)
            if ledger.missing(plan.experiment):
                break  # interrupted, or a fold failed for good; the line above says which
    return _show(flags, ledger, plans, console)


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    config: ExperimentConfig


def plan_variants(variants: Sequence[Variant], inputs: Inputs) -> list[tuple[str, Plan]]:
    """Name and plan of every variant; variants that are the same experiment have one plan."""
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
    experiment = base.experiment
    left = sum(map(len, missing.values()))
    total = sum(len(plan.folds) for _, plan in plans)
    console.print(
        f"base {experiment.digest}: {experiment.method}, {experiment.dataset}, "
        f"{experiment.protocol}, {experiment.class_set}, selection {experiment.selection}",
        markup=False,
    )
    console.print(
        f"{len(plans)} experiments with {len(base.folds)} folds each: {total} trainings, "
        f"{total - left} done, {left} to run",
        markup=False,
    )
    for line in base.lines[1:]:
        console.print(line, markup=False)
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
    result = ablation.make_ablation(ledger, [(name, plan.experiment) for name, plan in plans])
    console.print(ablation.ablation_table(result), markup=False)
    path = flags.site / ablation.ablation_page_name(result)
    add_page(path, ablation.render_ablation(result))
    console.print(f"wrote {path}", markup=False)
    if result.complete:
        return cli.DONE
    console.print("incomplete: give the same command again to run the missing folds", markup=False)
    return cli.INCOMPLETE


def make_grid(base: ExperimentConfig, grids: tuple[str, ...]) -> tuple[Variant, ...]:
    """The base experiment first, then the variants of each grid; equal ones appear once.

    Raises:
        DadnetError: if a grid is unknown or named twice, or the base has no alignment to vary.
    """
    unknown = [name for name in grids if name not in GRIDS]
    if unknown or not grids or len(set(grids)) != len(grids):
        raise DadnetError(
            f"grid: expected different ones of {', '.join(GRIDS)}, got {listed(grids) or 'none'}"
        )
    variants = [Variant("base", base)]
    for name in grids:
        for variant in GRIDS[name](base):
            if all(variant.config != known.config for known in variants):
                variants.append(variant)
    return tuple(variants)


def _modules(base: ExperimentConfig) -> list[Variant]:
    """Every choice of spatial transformer, channel attention and head attention, all first."""
    if base.model.model is not None:
        raise DadnetError(
            "grid modules: a network of your own has none of these modules; expected --grid "
            "alignment or weight, with --model-type dad_net"
        )
    head = base.model.head if base.model.head != "linear" else "tokens"
    variants = []
    for switches in product((True, False), repeat=3):
        names = compress(("STN", "channel attention", "head"), switches)
        stn, channel, attention = switches
        model = replace(
            base.model, stn=stn, channel_attention=channel, head=head if attention else "linear"
        )
        name = f"modules: {' + '.join(names) or 'none'}"
        variants.append(Variant(name, replace(base, model=model)))
    return variants


def _alignment(base: ExperimentConfig) -> list[Variant]:
    """The student alone, then every choice of aligned stages, few first."""
    _check_aligned(base, "alignment")
    alone = replace(base, model=replace(base.model, model_type="baseline"))
    # A network of the user's may have maps of these stages alone.
    stages_there = STAGES if base.model.model is None else base.loss.alignment_stages
    subsets = [s for number in range(1, 5) for s in combinations(stages_there, number)]
    return [
        Variant("alignment: none, the student alone", alone),
        *(
            Variant(
                f"alignment: stages {', '.join(map(str, stages))}",
                replace(base, loss=replace(base.loss, alignment_stages=stages)),
            )
            for stages in subsets
        ),
    ]


def _weight(base: ExperimentConfig) -> list[Variant]:
    _check_aligned(base, "weight")
    losses = [replace(base.loss, alignment_weight=weight) for weight in WEIGHTS]
    return [
        Variant(f"alignment weight {loss.alignment_weight:g}", replace(base, loss=loss))
        for loss in losses
    ]


def _check_aligned(base: ExperimentConfig, grid: str) -> None:
    if not base.aligned:
        raise DadnetError(
            f"grid {grid}: expected a base with a teacher and an alignment, got model_type "
            f"{base.model.model_type}, alignment_weight {base.loss.alignment_weight:g}, "
            f"{len(base.loss.alignment_stages)} aligned stages; --grid modules needs none"
        )


GRIDS: Mapping[str, Callable[[ExperimentConfig], list[Variant]]] = {
    "modules": _modules,
    "alignment": _alignment,
    "weight": _weight,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return ABLATE.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
