"""Search hyperparameters on validation subjects, then score the winner on the test side once.

`python -m orchestration.tune --dataset dfme --flows flows/dfme --macro-weights
teacher.safetensors` finds weight, projections and stages of the alignment. The same command
continues an interrupted search. No test clip is read before the search is finished. Exit status: 0
done, 2 bad input, 3 not finished.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dadnet.base import cli
from orchestration.folds.plan import load_inputs
from orchestration.reporting.leave import leave
from orchestration.search.flags import TuneFlags, parse_flags
from orchestration.search.searches import NestedSearch, PlainSearch
from orchestration.search.storage import storage_url
from orchestration.search.trial import ServiceLostError, TrialFailedError
from results.leaderboard.ranking import leaderboard, text_table
from results.ledger.ledger import Ledger
from results.pages.site import write_site


def run(flags: TuneFlags, console: Console) -> int:
    """Search and score.

    Returns:
        Exit status: 0 if the winner is in the ledger, else 3.

    Raises:
        DadnetError: if the input cannot be used.
    """
    config = flags.base
    storage_url(flags.ledger, flags.study_storage)  # a wrong one is refused before loading
    flows = flags.flows or Path("flows") / config.data.dataset
    inputs = load_inputs(config, str(flows), flags.macro_weights)
    search_class = NestedSearch if flags.level == "nested" else PlainSearch
    search = search_class(flags, inputs, console)
    search.describe()
    if flags.dry_run:
        search.print_cost()
        return cli.DONE
    try:
        done = search.run()
    except KeyboardInterrupt:
        done = False
    except (ServiceLostError, TrialFailedError) as error:
        console.print(f"stopped: {error}", markup=False)
        done = False
    if not done:
        console.print("not finished; give the same command again to continue", markup=False)
        return cli.INCOMPLETE
    ledger = Ledger(flags.ledger)
    console.print(text_table(leaderboard(ledger, config.data.dataset)), markup=False)
    pages = write_site(leaderboard(ledger), flags.site)
    console.print(f"wrote {pages[0]} and {len(pages) - 1} more", markup=False)
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return cli.run_command(lambda words: run(parse_flags(words, __doc__), cli.console()), argv)


if __name__ == "__main__":
    leave(main())
