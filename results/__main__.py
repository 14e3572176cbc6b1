"""``python -m results leaderboard``, ``import`` and ``predictions``.

Exit status: 0 done, 2 bad input (one line on standard error), 3 an experiment is incomplete.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dadnet.errors import DadnetError
from results.board import leaderboard, text_table
from results.foreign import ForeignTable, import_table
from results.ledger import Ledger, LedgerWarning
from results.page import FORMATS, write_site, write_text
from results.predictions import find_experiment, megc_log, prediction_csv
from results.records import PROTOCOLS, SELECTIONS

DONE, BAD_INPUT, INCOMPLETE = 0, 2, 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DadnetError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None = those of the process.

    Returns:
        The exit status.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LedgerWarning)
        try:
            arguments = _parser().parse_args(argv)
            status: int = arguments.run(arguments)
        except (DadnetError, OSError) as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            status = BAD_INPUT
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return status


def _parser() -> _Parser:
    parser = _Parser(prog="python -m results", description="Leaderboards from finished folds.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    board = commands.add_parser("leaderboard", help="make the pages and tables of a ledger")
    board.add_argument("--ledger", type=Path, default=Path("runs"), help="folder of finished folds")
    board.add_argument("--out", type=Path, default=Path("site"), help="folder for the pages")
    board.add_argument("--dataset", help="only this dataset")
    board.add_argument(
        "--format", default=",".join(FORMATS), help=f"some of {','.join(FORMATS)} (default: all)"
    )
    board.set_defaults(run=_leaderboard)

    foreign = commands.add_parser("import", help="take the per-clip predictions of another program")
    foreign.add_argument("file", type=Path, help="CSV: [dataset,]subject,clip,label,prediction")
    foreign.add_argument("--method", required=True, help="name of the row on the board")
    foreign.add_argument("--dataset", required=True, help="dataset on the board")
    foreign.add_argument("--protocol", required=True, choices=PROTOCOLS, help="how it was split")
    foreign.add_argument("--class-set", help="name of the class set (default: by the classes)")
    foreign.add_argument(
        "--selection", default="unknown", choices=SELECTIONS, help="what chose the epoch"
    )
    foreign.add_argument("--classes", help="class names in order, with commas between")
    foreign.add_argument("--ledger", type=Path, default=Path("runs"), help="folder of the records")
    foreign.set_defaults(run=_import)

    given = commands.add_parser("predictions", help="per-clip predictions of one experiment")
    given.add_argument("--ledger", type=Path, default=Path("runs"), help="folder of the records")
    given.add_argument("--experiment", help="its digest or the beginning of it")
    given.add_argument(
        "--format",
        choices=("megc-log", "csv"),
        default="csv",
        help="csv (boards of DFME), or the log of the Micro-Expressions Grand Challenge 2019",
    )
    given.add_argument("--part", help="csv: only this part of an official split, such as testA")
    given.add_argument("--out", type=Path, help="file to write (default: standard output)")
    given.set_defaults(run=_predictions)
    return parser


def _leaderboard(arguments: argparse.Namespace) -> int:
    ledger = Ledger(arguments.ledger)
    board = leaderboard(ledger, arguments.dataset)
    pages = write_site(board, arguments.out, tuple(arguments.format.split(",")))
    print(text_table(board, width=max(80, shutil.get_terminal_size((120, 24)).columns)))
    orphans = ledger.orphans()
    for folder in orphans:
        print(f"warning: {folder} has records without an experiment.json", file=sys.stderr)
    print(f"wrote {pages[0]}" + (f" and {len(pages) - 1} more" if len(pages) > 1 else ""))
    return INCOMPLETE if orphans or not board.complete else DONE


def _import(arguments: argparse.Namespace) -> int:
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


def _predictions(arguments: argparse.Namespace) -> int:
    ledger = Ledger(arguments.ledger)
    experiment = find_experiment(ledger, arguments.experiment)
    records = ledger.records(experiment)
    if len(records) < len(experiment.folds):
        missing = len(experiment.folds) - len(records)
        print(
            f"incomplete: {missing} of {len(experiment.folds)} folds are missing", file=sys.stderr
        )
        return INCOMPLETE
    if arguments.format == "megc-log":
        if arguments.part is not None:
            raise DadnetError("part: the megc-log holds all clips; leave the option out")
        text = megc_log(experiment, records)
    else:
        text = prediction_csv(experiment, records, arguments.part)
    if arguments.out is None:
        print(text, end="")
    else:
        write_text(arguments.out, text)
        print(f"wrote {arguments.out}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
