"""Score kept fold weights under corruptions of the flow, and show how much of UF1 remains.

`python -m orchestration.robustness --ledger runs --experiment 0123456789abcdef --flows
flows/casme2`. Nothing is trained: the folds must have been run with `--keep-weights best`. Before
a fold is scored, its clean clips must give the predictions of the ledger. The same command
continues an interrupted one. Several digests, separated by commas, are shown side by side.
Exit status: 0 done, 2 bad input, 3 incomplete.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from dadnet.base import cli
from orchestration.folds.flags import ROBUSTNESS, RobustnessFlags

if __name__ == "__main__":
    ROBUSTNESS.parse_first(__doc__)

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from dadnet.base.errors import DadnetError
from dadnet.flow.corruptions import KINDS, Corruption, suite
from orchestration.folds.plan import default_flows
from orchestration.folds.rescore import Scoring, load_scoring, score_fold
from results.leaderboard.names import find_experiment
from results.ledger.corrupted import RobustnessLedger
from results.ledger.ledger import Ledger
from results.pages import robustness as page
from results.pages.linking import add_page
from results.pages.run import robustness_page_name

Work = list[tuple[str, tuple[Corruption, ...]]]


def run(flags: RobustnessFlags, console: Console) -> int:
    """Score what is missing, print the table, write the page.

    Returns:
        Exit status: 0 if everything is scored, else 3.

    Raises:
        DadnetError: if the input cannot be used.
    """
    ledger, corruptions = Ledger(flags.ledger), suite(flags.kinds)
    if any(KINDS[kind].acts_on == "frames" for kind in flags.kinds) and flags.root is None:
        raise DadnetError("kinds: retiming needs --root, the folder of the frames")
    experiments = [find_experiment(ledger, w) for w in (*flags.experiments, *flags.experiment)]
    if len({e.digest for e in experiments}) < len(experiments):
        raise DadnetError("experiment: expected different experiments, got one twice")
    for experiment in experiments:
        flows = flags.flows or default_flows(experiment.dataset)
        root = flags.ledger.absolute()
        scoring = load_scoring(
            root, experiment, flows, flags.device, flags.root, run_source=flags.run_source
        )
        page.clean_counts(experiment, scoring.records)  # refused before hours of work
        missing = missing_work(scoring, corruptions)
        left = sum(len(part) for _, part in missing)
        total = len(experiment.folds) * len(corruptions)
        console.print(
            f"{experiment.digest} {experiment.method}: {total - left} of {total} corrupted folds "
            f"are scored, {left} to go",
            markup=False,
        )
        if not flags.dry_run and not _score(scoring, missing, flags.workers, console):
            console.print("interrupted; finished scores are kept", markup=False)
            return cli.INCOMPLETE
    if flags.dry_run:
        return cli.DONE
    results = [page.read_robustness(flags.ledger, e) for e in experiments]  # with all earlier kinds
    for result in results:
        console.print(page.robustness_table(result), markup=False)
    path = flags.site / robustness_page_name(experiments)
    add_page(path, page.render_robustness(results, flags.standalone))
    console.print(f"wrote {path}", markup=False)
    names = {corruption.name for corruption in corruptions}
    incomplete = any(name in names for result in results for name, _, _ in result.missing)
    return cli.INCOMPLETE if incomplete else cli.DONE


def missing_work(scoring: Scoring, corruptions: Sequence[Corruption]) -> Work:
    """Folds, in plan order, with the corruptions that they have no scores of yet."""
    scored, experiment = RobustnessLedger(scoring.ledger), scoring.experiment
    work: Work = []
    for record in scoring.records:
        left = tuple(c for c in corruptions if scored.get(experiment, record, c.name) is None)
        if left:
            work.append((record.fold, left))
    return work


def _score(scoring: Scoring, work: Work, workers: int | None, console: Console) -> bool:
    """Score; False if the user interrupted it."""
    if not work:
        return True
    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = sum(len(part) for _, part in work)
    try:
        with ProgressBar(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("scored", total=total)
            here = (_score_named(scoring, *item) for item in work)
            for number in here if workers == 0 else _on_ray(scoring, work, workers):
                bar.advance(task, number)
    except KeyboardInterrupt:
        return False
    return True


def _on_ray(scoring: Scoring, work: Work, workers: int | None) -> Iterator[int]:
    import ray  # slow to import

    from orchestration.workers.connection import connect

    at_once = workers or os.cpu_count() or 1
    connect(at_once)
    shared = ray.put(scoring)  # one copy of the flows per node
    task = ray.remote(num_cpus=1, max_retries=2)(_score_named)
    waiting: Work = list(reversed(work))
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            fold, corruptions = waiting.pop()
            named = task.options(name=f"robustness {fold}")
            running.append(named.remote(shared, fold, corruptions))
        done, running = ray.wait(running)
        try:
            yield from ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DadnetError):
                raise error.cause from None
            raise


def _score_named(scoring: Scoring, fold: str, corruptions: tuple[Corruption, ...]) -> int:
    return score_fold(scoring, scoring.record(fold), corruptions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return ROBUSTNESS.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
