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
        paths = write_site(board, arguments.out, formats)
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
