"""Search hyperparameters on validation subjects, then score the winner on the test side once.

`python -m orchestration.tune --dataset dfme --flows flows/dfme --macro-weights
teacher.safetensors` finds weight, projections and stages of the alignment. The same command
continues an interrupted search. No test clip is read before the search is finished. Exit status: 0
done, 2 bad input, 3 not finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dadnet.base import cli
from orchestration.search.flags import TUNE, TuneFlags

if __name__ == "__main__":
    TUNE.parse_first(__doc__)

from rich.console import Console

from dadnet.base.errors import DadnetError
from orchestration.folds.flags import preset_warning
from orchestration.folds.plan import load_inputs
from orchestration.reporting.leave import leave
from orchestration.reporting.waiting import waiting
from orchestration.search.driver import Findings
from orchestration.search.searches import NestedSearch, PlainSearch
from orchestration.search.storage import storage_url
from orchestration.search.trial import ServiceLostError, TrialFailedError
from results.leaderboard.names import check_free, check_name, put_name
from results.leaderboard.ranking import leaderboard, text_table
from results.leaderboard.text import terminal_width
from results.ledger.ledger import Ledger
from results.pages.site import write_site
from search_spaces.load import load_space


@dataclass(frozen=True)
class Outcome:
    """How a search has ended.

    Attributes:
        findings: what is in the ledger; None if the search is not finished, or only planned.
        stopped: why it is not finished, where an error says so.
        interrupted: whether the user stopped it.
    """

    findings: Findings | None = None
    stopped: str = ""
    interrupted: bool = False


def run(flags: TuneFlags, console: Console) -> int:
    """Search and score, then write the pages.

    Returns:
        Exit status: 0 if the winner is in the ledger, else 3.

    Raises:
        DadnetError: if the input cannot be used.
    """
    outcome = search(flags, console)
    if flags.dry_run:
        return cli.DONE
    if outcome.stopped:
        console.print(f"stopped: {outcome.stopped}", markup=False)
    if outcome.findings is None:
        console.print("not finished; give the same command again to continue", markup=False)
        return cli.INCOMPLETE
    ledger = Ledger(flags.ledger)
    table = text_table(leaderboard(ledger, flags.base.data.dataset), terminal_width())
    console.print(table, markup=False)
    with waiting(f"writing pages to {flags.site}"):
        pages = write_site(leaderboard(ledger), flags.site, standalone=flags.standalone)
    console.print(f"wrote {pages[0]} and {len(pages) - 1} more", markup=False)
    return cli.DONE


def search(flags: TuneFlags, console: Console) -> Outcome:
    """Search and score, without leaderboard and pages; a dry run only prints the cost.

    Raises:
        DadnetError: if the input cannot be used.
    """
    config = flags.base
    # What is wrong here is refused before loading.
    if flags.name is not None:
        check_name(flags.name)
    storage_url(flags.ledger, flags.study_storage)
    load_space(flags.space)
    if warning := preset_warning(flags.preset, config.data.dataset):
        console.print(warning, markup=False)
    flows = flags.flows or Path("flows") / config.data.dataset
    with waiting(f"reading {flows}", quiet=console.quiet):
        inputs = load_inputs(config, str(flows), flags.macro_weights)
    search_class = NestedSearch if flags.level == "nested" else PlainSearch
    made = search_class(flags, inputs, console)
    made.describe()
    if flags.dry_run:
        made.print_cost()
        return Outcome()
    try:
        findings = made.run()
        if findings is not None and flags.name is not None:
            name_winner(flags, findings, console)
        return Outcome(findings)
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    except (ServiceLostError, TrialFailedError) as error:
        return Outcome(stopped=str(error))


def name_winner(flags: TuneFlags, findings: Findings, console: Console) -> None:
    """Name what a search has scored; a name that another row has is a warning: hours are done."""
    ledger, several = Ledger(flags.ledger), len(findings.experiments) > 1
    for experiment in findings.experiments:
        name = f"{flags.name}, seed {experiment.seed}" if several else str(flags.name)
        try:
            check_free(ledger, experiment, name)
            put_name(ledger, experiment, name)
        except DadnetError as error:
            console.print(f"warning: {error}; dadnet rename gives one", markup=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return TUNE.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    leave(main())
