"""``python -m results COMMAND``: leaderboards and pages from finished folds.

Exit status: 0 done, 2 bad input (one line on standard error), 3 an experiment is incomplete.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from dadnet.base.errors import DadnetError
from dadnet.base.location import location
from results.ledger.ledger import Ledger, LedgerWarning
from results.ledger.records import PROTOCOLS, SELECTIONS

DONE, BAD_INPUT, INCOMPLETE = 0, 2, 3
FORMATS = ("html", "csv", "json", "markdown", "latex")


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


def _lazily(command: str) -> Callable[[argparse.Namespace], int]:
    """Return a command of `results.commands`, imported when it runs: most need numpy and more."""

    def run(arguments: argparse.Namespace) -> int:
        status: int = getattr(import_module("results.commands"), command)(arguments)
        return status

    return run


def _parser() -> _Parser:
    parser = _Parser(prog="python -m results", description="Leaderboards from finished folds.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_board,
        _add_run,
        _add_compare,
        _add_leaklab,
        _add_import,
        _add_predictions,
        _add_submission,
        _add_track,
    ):
        add(commands)
    return parser


_Commands = argparse._SubParsersAction  # the type that `add_subparsers` returns


def _add_board(commands: _Commands[_Parser]) -> None:
    board = commands.add_parser("leaderboard", help="make the pages and tables of a ledger")
    _add_ledger(board)
    board.add_argument("--out", type=Path, default=Path("site"), help="folder for the pages")
    board.add_argument("--dataset", help="only this dataset")
    board.add_argument("--protocol", help="only this protocol")
    board.add_argument("--class-set", help="only this class set")
    board.add_argument(
        "--format", default=",".join(FORMATS), help=f"some of {','.join(FORMATS)} (default: all)"
    )
    board.add_argument(
        "--run-pages",
        type=_count,
        default=20,
        help="pages of single experiments: for the first N rows of every group (default: 20)",
    )
    board.add_argument("--flows", type=Path, help="flow store, for pictures of the hardest clips")
    board.add_argument("--rebuild", action="store_true", help="even if nothing has changed")
    board.set_defaults(run=_leaderboard)


def _add_run(commands: _Commands[_Parser]) -> None:
    run = commands.add_parser("run", help="make the page of one experiment")
    run.add_argument("experiment", help="digest, or the beginning of it")
    _add_ledger(run)
    run.add_argument("--out", type=Path, default=Path("site"), help="folder for the page")
    run.add_argument("--flows", type=Path, help="flow store, for pictures of the hardest clips")
    run.set_defaults(run=_lazily("run_page"))


def _add_compare(commands: _Commands[_Parser]) -> None:
    compare = commands.add_parser("compare", help="compare two experiments, clip by clip")
    compare.add_argument("first", metavar="A", help="digest, or the beginning of it")
    compare.add_argument("second", metavar="B", help="digest, or the beginning of it")
    _add_ledger(compare)
    compare.add_argument("--out", type=Path, default=Path("site"), help="folder for the page")
    compare.set_defaults(run=_lazily("compare_page"))


def _add_leaklab(commands: _Commands[_Parser]) -> None:
    lab = commands.add_parser("leaklab", help="what selection on the test subjects is worth")
    _add_ledger(lab)
    lab.add_argument("--labels", type=Path, help="a CSV of clips (subject, label) instead")
    lab.add_argument("--k", default="1,10,100,800", help="draws to choose from, such as 1,10,100")
    lab.add_argument("--repeats", type=_count, default=200, help="simulations of each")
    lab.add_argument("--out", type=Path, default=Path("site"), help="folder for the page")
    lab.set_defaults(run=_lazily("leak_laboratory"))


def _add_import(commands: _Commands[_Parser]) -> None:
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
    _add_ledger(foreign)
    foreign.set_defaults(run=_lazily("import_predictions"))


def _add_predictions(commands: _Commands[_Parser]) -> None:
    given = commands.add_parser("predictions", help="per-clip predictions of one experiment")
    _add_ledger(given)
    given.add_argument("--experiment", help="its digest or the beginning of it")
    given.add_argument(
        "--format",
        choices=("megc-log", "csv"),
        default="csv",
        help="csv (boards of DFME), or the log of the Micro-Expressions Grand Challenge 2019",
    )
    given.add_argument("--part", help="csv: only this part of an official split, such as testA")
    given.add_argument("--out", type=Path, help="file to write (default: standard output)")
    given.set_defaults(run=_lazily("predictions"))


def _add_submission(commands: _Commands[_Parser]) -> None:
    pack = commands.add_parser("pack", help="pack complete experiments into one verified file")
    pack.add_argument("experiments", nargs="*", help="digests, or their beginnings; none: all")
    _add_ledger(pack)
    pack.add_argument("--out", type=Path, required=True, help="the bundle, such as mine.zip")
    pack.set_defaults(run=_lazily("pack_bundle"))
    verify = commands.add_parser("verify", help="check a bundle: schema, digests, audit, numbers")
    verify.add_argument("bundle", type=Path, help="what `pack` wrote")
    verify.add_argument("--rerun", help="command that makes one fold again; see the documentation")
    verify.add_argument("--seed", type=_count, default=0, help="chooses the fold to make again")
    verify.set_defaults(run=_lazily("verify_bundle"))
    merge = commands.add_parser("merge", help="put verified bundles and ledgers into a ledger")
    merge.add_argument("sources", nargs="+", type=Path, help="bundles, or folders of ledgers")
    _add_ledger(merge)
    merge.set_defaults(run=_lazily("merge_sources"))


def _add_track(commands: _Commands[_Parser]) -> None:
    track = commands.add_parser("track", help="feed TensorBoard or MLflow from the event log")
    track.add_argument("experiment", help="digest, or the beginning of it")
    _add_ledger(track)
    track.add_argument("--tensorboard", type=Path, help="folder of TensorBoard's logs")
    track.add_argument("--mlflow", help="URI of the MLflow server or folder")
    track.add_argument("--follow", action="store_true", help="wait for folds until all are there")
    track.set_defaults(run=_lazily("track"))


def _add_ledger(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ledger",
        type=location,
        default=Path("runs"),
        help="folder of the folds, or s3://bucket/folder",
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _leaderboard(arguments: argparse.Namespace) -> int:
    from results.leaderboard.stamp import source_of, unchanged  # light, unlike what makes a site
    from results.ledger.mirror import readable_root

    options = {
        name: None if (value := getattr(arguments, name)) is None else str(value)
        for name in ("dataset", "protocol", "class_set", "format", "run_pages", "flows")
    }
    processes = os.cpu_count() or 1
    root = readable_root(arguments.ledger)
    made_from = source_of(root, options, processes)
    kept = unchanged(arguments.out, made_from)
    if kept is not None and not arguments.rebuild:
        print(kept.text)
        for line in kept.warnings:
            print(f"warning: {line}", file=sys.stderr)
        print(f"nothing changed: {arguments.out / kept.first} is as it was")
        return kept.status
    from results.commands import leaderboard_site

    return leaderboard_site(Ledger(root), arguments, made_from, processes)


if __name__ == "__main__":
    gc.disable()  # a short process: nothing here makes cycles, and looking for them costs seconds
    sys.exit(main())
