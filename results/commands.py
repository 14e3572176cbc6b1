"""The commands of ``python -m results``, one function each; they return the exit status."""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Mapping

from dadnet.errors import DadnetError
from results.board import Filters, leaderboard
from results.foreign import ForeignTable, import_table
from results.ledger import Ledger, LedgerWarning
from results.page import write_site
from results.rendering import replace_file
from results.run_page import find_experiment, render_compare, render_run, row_of, run_page_name
from results.scan import Folder
from results.stamp import write_stamp
from results.terminal import text_table

DONE, INCOMPLETE = 0, 3


def leaderboard_site(
    arguments: argparse.Namespace,
    options: Mapping[str, str | None],
    folders: dict[str, Folder],
    processes: int,
) -> int:
    """Make the site of a ledger."""
    ledger = Ledger(arguments.ledger)
    filters = Filters(arguments.dataset, arguments.protocol, arguments.class_set)
    formats = tuple(arguments.format.split(","))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LedgerWarning)
        experiments = ledger.experiments()
        board = leaderboard(
            ledger, filters=filters, folders=folders, experiments=experiments, processes=processes
        )
        paths = write_site(
            board,
            arguments.out,
            formats,
            ledger=ledger,
            run_pages=arguments.run_pages,
            flows=arguments.flows,
        )
    text = text_table(board, width=max(80, shutil.get_terminal_size((120, 24)).columns), most=50)
    print(text)
    orphans = [f"{path} has records without an experiment.json" for path in ledger.orphans(experiments)]
    lines = [str(warning.message) for warning in caught] + orphans
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
    print(f"wrote {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
    status = INCOMPLETE if orphans or not board.complete else DONE
    write_stamp(arguments.out, folders, options, paths, text, lines, status)
    return status


def import_predictions(arguments: argparse.Namespace) -> int:
    """Put the predictions of another program into a ledger."""
    classes = None
    if arguments.classes is not None:
        classes = tuple(name.strip() for name in arguments.classes.split(","))
    table = ForeignTable(
        path=arguments.file,
        method=arguments.method,
        dataset=arguments.dataset,
        protocol=arguments.protocol,
        class_set=arguments.class_set,
        selection=arguments.selection,
        classes=classes,
    )
    ledger = Ledger(arguments.ledger)
    experiment = import_table(table, ledger)
    num_clips = sum(fold.num_test_clips for fold in experiment.folds)
    print(
        f"{experiment.method}: {num_clips} clips of {len(experiment.folds)} subjects "
        f"are in {ledger.folder(experiment)}"
    )
    return DONE


def run_page(arguments: argparse.Namespace) -> int:
    """Make the page of one experiment."""
    ledger = Ledger(arguments.ledger)
    row = row_of(ledger, find_experiment(ledger, arguments.experiment))
    path = arguments.out / run_page_name(row.experiment)
    replace_file(path, render_run(ledger, row, arguments.flows))
    print(f"wrote {path}")
    return DONE if row.complete else INCOMPLETE


def compare_page(arguments: argparse.Namespace) -> int:
    """Compare two experiments, on a page and in two lines."""
    ledger = Ledger(arguments.ledger)
    first, second = (
        find_experiment(ledger, name) for name in (arguments.first, arguments.second)
    )
    page, found = render_compare(ledger, first, second)
    path = arguments.out / f"compare-{first.digest}-{second.digest}.html"
    replace_file(path, page)
    ends = "no interval"
    if found.interval.low is not None and found.interval.high is not None:
        ends = f"95 % interval {found.interval.low:+.3f} to {found.interval.high:+.3f}"
    print(f"UF1 of {first.method} minus {second.method}: {found.value:+.3f}, {ends}, p {found.p:.4f}")
    print(f"wrote {path}")
    return DONE
