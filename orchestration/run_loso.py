"""Run the missing folds of an experiment and print its leaderboard.

`python -m orchestration.run_loso --dataset casme2 --flows flows/casme2 --macro-weights
teacher.safetensors`. The same command given again goes on where it was; with nothing missing it
only prints the table. Works from a checkout, as a module and, where the package is installed, as
a lone copy of this file (`ray submit` makes one). Exit status: 0 done, 2 bad input, 3 incomplete.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

if find_spec("dadnet") is None:  # a lone copy on a machine without the package
    sys.exit(
        "error: run_loso needs the package dadnet-loso in this Python; a cluster installs it by "
        "file_mounts and setup_commands (see the README)"
    )

from dadnet.base import cli
from orchestration.folds.flags import LOSO, RunFlags, capped_warmup, preset_warning

if __name__ == "__main__":
    LOSO.parse_first(__doc__)

import torch
from rich.console import Console

from dadnet.base.errors import DadnetError, listed, meant
from dadnet.base.location import absolute, stored
from dadnet.labels.class_sets import get_class_set
from dadnet.labels.own_labels import OWN_WORDS
from dadnet.models.precision import check_precision
from dadnet.training.loop import StoppedError
from orchestration.folds.claims import Heartbeat, claims_folder
from orchestration.folds.cost import Cost, measure_cost
from orchestration.folds.here import make_folds_here
from orchestration.folds.make import made_by_another, with_measured_stack
from orchestration.folds.options import WorkOptions, local_device
from orchestration.folds.plan import Inputs, Plan, default_flows, load_inputs, plan_of
from orchestration.reporting.leave import leave
from orchestration.reporting.progress import Progress, incomplete
from orchestration.reporting.stopping import StopRequest
from orchestration.reporting.waiting import waiting
from results.leaderboard.names import check_free, check_name, given_name, put_name
from results.leaderboard.ranking import leaderboard, text_table
from results.leaderboard.text import terminal_width
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment


@dataclass(frozen=True)
class Outcome:
    """What a run has left behind.

    Attributes:
        status: exit status: 0 if every fold is in the ledger or only the plan was wanted, else 3.
        experiment: what was planned; None if the run was interrupted before the plan was made.
        missing: names of the folds without a record.
        interrupted: whether the user stopped it.
    """

    status: int
    experiment: Experiment | None = None
    missing: tuple[str, ...] = ()
    interrupted: bool = False


def run(flags: RunFlags, console: Console) -> int:
    """Run an experiment's missing folds and print its leaderboard.

    Returns:
        Exit status: 0 if every fold is in the ledger, else 3.

    Raises:
        DadnetError: if the input cannot be used.
    """
    outcome = run_experiment(flags, console)
    if outcome.experiment is None or flags.dry_run:
        return outcome.status
    experiment, missing = outcome.experiment, outcome.missing
    table = text_table(leaderboard(Ledger(flags.ledger), experiment.dataset), terminal_width())
    console.print(table, markup=False)
    if missing:
        diverged = Ledger(flags.ledger).divergences(experiment)
        line = incomplete(len(experiment.folds), len(missing), diverged)
        console.print(line, markup=False)
    return outcome.status


def run_experiment(flags: RunFlags, console: Console) -> Outcome:
    """Run an experiment's missing folds, without its leaderboard.

    Raises:
        DadnetError: if the input cannot be used.
    """
    if flags.name is not None:
        check_name(flags.name)
    flows, macro_weights = find_inputs(flags, console)
    try:
        with waiting(f"reading {flows}", quiet=console.quiet):
            inputs = load_inputs(flags.experiment, flows, macro_weights)
        plan = _plan(flags, inputs, console)
    except KeyboardInterrupt:
        console.print("interrupted; nothing was begun")
        return Outcome(cli.INCOMPLETE, interrupted=True)
    ledger, experiment = Ledger(flags.ledger), plan.experiment
    name = flags.name or given_name(ledger, experiment)
    if flags.name is not None:
        check_free(ledger, experiment, flags.name)
    _print_plan(plan, console)
    warnings = (
        preset_warning(flags.preset, experiment.dataset),
        capped_warmup(flags.preset, flags.experiment),
    )
    for line in filter(None, warnings):
        console.print(line, markup=False)
    if not flags.dry_run and not flags.fresh:
        ledger.set_damage_aside(experiment)
    if not flags.fresh and (line := made_by_another(experiment, ledger.records(experiment))):
        if flags.strict:
            raise DadnetError(f"strict: {line}; go on with that, or make all again by --fresh")
        console.print(f"warning: {line}; --fresh makes all again", markup=False, soft_wrap=True)
    if flags.fresh and not flags.dry_run:
        with Heartbeat(claims_folder(ledger, experiment)) as claims:
            if others := claims.others():
                raise DadnetError(
                    f"fresh: expected no other run of this experiment, got {', '.join(others)}"
                )
        stored(ledger.folder(experiment)).remove_tree()
    if flags.retry_diverged and not flags.dry_run:
        ledger.forget_divergences(experiment)
    missing = _requested(flags, plan, ledger)
    done = len(plan.folds) - len(ledger.missing(experiment))
    console.print(f"{done} of {len(plan.folds)} folds are in {flags.ledger}, {len(missing)} to run")
    if flags.dry_run:
        if missing:
            cost, workers = cost_here(flags, plan, missing, console)
            console.print(cost.line(workers))
        return Outcome(cli.DONE, experiment, ledger.missing(experiment))
    if missing:
        check_device(flags)
    ledger.open(experiment)
    if name is not None and name != given_name(ledger, experiment):
        put_name(ledger, experiment, name)
    _warn_of_missing_weights(flags, plan, ledger.missing(experiment), console)
    interrupted = False
    if missing:
        interrupted = not make_missing(flags, plan, missing, console)
    missing = ledger.missing(experiment)
    return Outcome(cli.INCOMPLETE if missing else cli.DONE, experiment, missing, interrupted)


def _plan(flags: RunFlags, inputs: Inputs, console: Console) -> Plan:
    """Carve the folds; if workers will be needed, Ray starts at the same time."""
    config, ledger = flags.experiment, Ledger(flags.ledger)
    if (
        flags.dry_run
        or flags.workers == 0
        or ledger.is_begun(config.data.dataset, inputs.digest(config))
    ):
        return plan_of(config, inputs)
    from orchestration.workers.connection import connect  # Ray only when needed

    with ThreadPoolExecutor(1) as pool:
        plan = pool.submit(plan_of, config, inputs)
        # Ray Train takes half a second to load.
        pool.submit(import_module, "orchestration.workers.group")
        connect(flags.workers or 1, quiet=console.quiet)
        return plan.result()


def cost_here(
    flags: RunFlags, plan: Plan, missing: tuple[str, ...], console: Console
) -> tuple[Cost, int]:
    """Cost of the missing folds on this machine, and the number of workers."""
    options = WorkOptions(
        flags.ledger, flags.checkpoint_every, local_device(), flags.stack, graph=flags.graph
    )
    workers = flags.workers
    if workers is None:
        workers = torch.cuda.device_count() or os.cpu_count()
    workers = workers or 1  # 0: this process
    at_most = -(-len(missing) // workers)
    options = with_measured_stack(plan, missing, options, at_most, console.print)
    return measure_cost(plan, missing, options, workers=workers), workers


def _requested(flags: RunFlags, plan: Plan, ledger: Ledger) -> tuple[str, ...]:
    """Return the missing folds that have not diverged, or those of them that `--only` names."""
    diverged = {} if flags.retry_diverged else ledger.divergences(plan.experiment)
    left_out = {divergence.fold for divergence in diverged}
    missing, names = ledger.missing(plan.experiment), [fold.name for fold in plan.folds]
    if unknown := sorted(set(flags.only) - set(names)):
        raise DadnetError(
            f"only: expected some of the {len(names)} folds {listed(names, 8)}, got "
            f"{listed(unknown)}{meant(unknown[0], names)}"
        )
    return tuple(
        name for name in missing if name not in left_out and (not flags.only or name in flags.only)
    )


def check_device(flags: RunFlags) -> None:
    """Refuse a precision that no worker of this run has, before anything is written."""
    on_ray, precision = flags.workers != 0, flags.experiment.optim.precision
    if on_ray and (precision == "tf32" or flags.gpus_per_worker is not None):
        from orchestration.workers.capacity import cluster_has_gpus, worker_resources

        worker = worker_resources(cluster_has_gpus(), flags.gpus_per_worker)
        check_precision(precision, torch.device("cuda" if worker.gpus else "cpu"))
    elif not on_ray:
        check_precision(precision, torch.device(local_device()))


def find_inputs(flags: RunFlags, console: Console) -> tuple[str | Path, Path | None]:
    """Flow store and teacher; the synthetic set is the default and is made where it is missing."""
    dataset, model = flags.experiment.data.dataset, flags.experiment.model
    if flags.flows is not None or dataset != "synthetic":
        return flags.flows or default_flows(dataset), flags.macro_weights
    if flags.experiment.data.class_set != OWN_WORDS:
        get_class_set(flags.experiment.data.class_set, dataset)  # refused before minutes of work
    from orchestration.flows.synthetic_inputs import input_steps, run_steps, teacher_path  # OpenCV

    out = Path("demo")
    if run_steps(input_steps(out, input_size=model.input_size), console) != cli.DONE:
        raise DadnetError("the synthetic set could not be made")
    teacher = teacher_path(out, model.input_size) if model.model_type == "dad_net" else None
    return out / "flows" / "synthetic", flags.macro_weights or teacher


def _print_plan(plan: Plan, console: Console) -> None:
    experiment, data = plan.experiment, plan.dataset
    counts = ", ".join(f"{name} {number}" for name, number in data.counts().items())
    dropped = ", ".join(f"{name} {number}" for name, number in sorted(data.dropped.items()))
    lines = [
        f"experiment {experiment.digest}: {experiment.method}, {experiment.dataset}, "
        f"{experiment.protocol}, {experiment.class_set}, selection {experiment.selection}",
        f"{len(data)} clips ({counts})" + (f"; the class set drops {dropped}" if dropped else ""),
        *([f"no certain unit: {', '.join(data.uncertain)}"] if data.uncertain else []),
        *plan.lines,
    ]
    for line in lines:
        console.print(line, markup=False)


def _warn_of_missing_weights(
    flags: RunFlags, plan: Plan, missing: tuple[str, ...], console: Console
) -> None:
    """Warn how many finished folds have no weights: they are not trained again for them."""
    if flags.keep_weights == "none":
        return
    ledger = Ledger(flags.ledger)
    without = [
        fold.name
        for fold in plan.folds
        if fold.name not in missing and not ledger.weights_path(plan.experiment, fold.name).exists()
    ]
    if without:
        console.print(
            f"warning: {len(without)} finished folds were made without keeping their weights "
            f"({without[0]}, ...); --fresh makes all of them again",
            markup=False,
        )


def make_missing(flags: RunFlags, plan: Plan, missing: tuple[str, ...], console: Console) -> bool:
    """Make folds of a plan, in this process or on Ray; False if Ctrl-C stopped it."""
    missing = plan.in_order(missing)
    options = WorkOptions(
        absolute(flags.ledger),
        flags.checkpoint_every,
        device=local_device() if flags.workers == 0 else "cpu",  # each worker chooses its own
        stack=flags.stack,
        graph=flags.graph,
        keep_weights=flags.keep_weights,
        keep_features=flags.keep_features,
    )
    heartbeat = Heartbeat(claims_folder(Ledger(options.ledger), plan.experiment))
    events = Ledger(flags.ledger).events_path(plan.experiment)
    epochs = flags.experiment.num_epochs
    with StopRequest() as stop, heartbeat as claims:
        if others := claims.others():
            console.print(f"other runs of this experiment: {', '.join(others)}", markup=False)
        options = replace(options, claims=claims)
        try:
            with Progress(events, epochs, plan.experiment.method, console) as progress:
                if flags.workers == 0:
                    make_folds_here(plan, missing, options, progress.show, stop)
                else:
                    from orchestration.workers.connection import connect  # Ray only when needed
                    from orchestration.workers.group import run_group

                    connect(flags.workers or 1, quiet=console.quiet)
                    stop.install()
                    workers, gpus = flags.workers, flags.gpus_per_worker
                    run_group(plan, missing, options, progress.show, stop, workers, gpus)
        except (KeyboardInterrupt, StoppedError):
            console.print("interrupted; finished folds and checkpoints are kept")
            return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return LOSO.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    leave(main())
