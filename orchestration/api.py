"""`loso` and `tune` from Python: flags, ledger and results of the commands as calls.

    from orchestration.api import loso

    result = loso(flows="flows/casme2", dataset="casme2", model_type="baseline", epochs=30)
    print(result.uf1, result.interval)

Every flag of `python -m orchestration.run_loso` (`orchestration.tune`) is a keyword argument. A
call resumes what a command or another call has left in the ledger. See docs/python.md.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from dadnet.base import cli
from dadnet.base.boundary import as_dadnet_errors
from dadnet.base.errors import DadnetError
from dadnet.base.keywords import signature, with_switches, words_of
from dadnet.base.location import Location
from dadnet.base.notebook_code import function_word
from orchestration import run_loso
from orchestration import tune as search_command
from orchestration.flows.arrays import store_arrays
from orchestration.folds import flags as run_flags
from orchestration.search import flags as search_flags
from results.result import Result, SearchResult

T = TypeVar("T")
_OWN = {"quiet": False, "labels": None, "subjects": None}


def loso(*, quiet: bool = False, **flags: Any) -> Result:
    """Run the missing folds of an experiment.

    Args:
        quiet: print nothing.
        flags: those of `python -m orchestration.run_loso`, with underscores. A function, such as
            `model=my_network`, may be one of a file or of a notebook. `flows` may be an array of
            shape (N, 2, H, W) with `labels` and `subjects`, N of each: it becomes a store in the
            folder flows, of the given `dataset` ("arrays").

    Returns:
        The experiment in the ledger. Where folds failed it is not complete and has no figures.

    Raises:
        DadnetError: if the input cannot be used; with the message of the command.
        KeyboardInterrupt: if the user stopped it; finished folds and checkpoints are kept.
    """
    with _parsed(run_flags.RunFlags, run_flags.parse_flags, flags) as parsed:
        outcome = run_loso.run_experiment(parsed, _console(quiet))
    if outcome.interrupted or outcome.experiment is None:
        raise KeyboardInterrupt("finished folds and checkpoints are kept")
    return Result(parsed.ledger, outcome.experiment)


def tune(*, quiet: bool = False, **flags: Any) -> SearchResult | None:
    """Search hyperparameters on validation subjects, then score the winner once.

    Args:
        quiet: print nothing.
        flags: those of `python -m orchestration.tune`, with underscores; `space` and `model` may
            be functions.

    Returns:
        Trials, winner and its result; None after `dry_run=True`.

    Raises:
        DadnetError: if the input cannot be used, or no winner was found.
        KeyboardInterrupt: if the user stopped it; the same call continues the search.
    """
    with _parsed(search_flags.TuneFlags, search_flags.parse_flags, flags) as parsed:
        outcome = search_command.search(parsed, _console(quiet))
    if parsed.dry_run:
        return None
    if outcome.interrupted:
        raise KeyboardInterrupt("the same call continues the search")
    if outcome.findings is None:
        raise DadnetError(outcome.stopped or "not finished; make the same call again to continue")
    return SearchResult(parsed.ledger, outcome.findings.studies, outcome.findings.experiments)


@contextmanager
def _parsed(
    kind: type[T], parse: Callable[[Sequence[str], str | None], T], given: dict[str, Any]
) -> Iterator[T]:
    """The flags of a call, while the files with its functions exist."""
    with tempfile.TemporaryDirectory(prefix="dadnet-") as folder, as_dadnet_errors():
        given = _with_store(given)
        values = {
            name: function_word(value, Path(folder, name), as_file=name == "space")
            if callable(value)
            else value
            for name, value in given.items()
        }
        words, switches = words_of(kind, values)
        yield with_switches(parse(words, None), switches)


def _with_store(given: dict[str, Any]) -> dict[str, Any]:
    """Flows in memory become a store."""
    labels, subjects = given.get("labels"), given.get("subjects")
    rest = {name: value for name, value in given.items() if name not in ("labels", "subjects")}
    if labels is None and subjects is None:
        return rest
    if labels is None or subjects is None or isinstance(given.get("flows"), str | Location | None):
        raise DadnetError("labels, subjects: expected both with flows as an array of (N, 2, H, W)")
    dataset = str(given.get("dataset") or "arrays")
    store = store_arrays(given["flows"], list(labels), list(subjects), dataset, Path("flows"))
    return {**rest, "flows": store, "dataset": dataset}


def _console(quiet: bool) -> Console:
    return Console(quiet=True) if quiet else cli.console()


loso.__signature__ = signature(run_flags.RunFlags, _OWN, Result)  # type: ignore[attr-defined]
tune.__signature__ = signature(  # type: ignore[attr-defined]
    search_flags.TuneFlags, _OWN, SearchResult | None
)
