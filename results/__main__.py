"""``python -m results COMMAND``: leaderboards and pages from finished folds.

Exit status: 0 done, 2 bad input (one line on standard error), 3 an experiment is incomplete.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from dadnet.base import cli
from dadnet.base.cli import DONE
from dadnet.base.errors import DadnetError
from results import flags
from results.ledger.files import LedgerWarning, lines_of
from results.ledger.ledger import Ledger

# Each command: its flags, and its function in `results.commands` or the named file, which is
# imported when it runs, because most commands need numpy and more.
COMMANDS: dict[str, tuple[type, str]] = {
    "leaderboard": (flags.LeaderboardFlags, ""),
    "run": (flags.RunFlags, "run_page"),
    "compare": (flags.CompareFlags, "compare_page"),
    "leaklab": (flags.LeaklabFlags, "leak_laboratory"),
    "figures": (flags.FiguresFlags, "write_plots"),
    "import": (flags.ImportFlags, "import_predictions"),
    "predictions": (flags.PredictionsFlags, "predictions"),
    "pack": (flags.PackFlags, "pack_bundle"),
    "verify": (flags.VerifyFlags, "verify_bundle"),
    "merge": (flags.MergeFlags, "merge_sources"),
    "track": (flags.TrackFlags, "track"),
    "runs": (flags.RunsFlags, "experiments.list_runs"),
    "rename": (flags.RenameFlags, "experiments.rename"),
    "rm": (flags.RmFlags, "experiments.remove"),
    "du": (flags.DuFlags, "experiments.disk_usage"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None = those of the process.

    Returns:
        The exit status.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LedgerWarning)
        status = cli.run_command(_run, argv)
    for line in lines_of(caught):
        print(f"warning: {line}", file=sys.stderr)
    return status


def _run(argv: Sequence[str]) -> int:
    words = list(argv)
    if words in (["--help"], ["-h"]):
        print("usage: python -m results COMMAND ... (COMMAND --help shows its flags)")
        for name, (kind, _) in COMMANDS.items():
            print(f"  {name:12} {(kind.__doc__ or '').strip()}")
        return DONE
    if not words or words[0] not in COMMANDS:
        given = words[0] if words else "none"
        raise DadnetError(f"command: expected one of {', '.join(COMMANDS)}, got: {given}")
    kind, function = COMMANDS[words[0]]
    prog = f"python -m results {words[0]}"
    given = cli.parse(kind, words[1:], prog=prog, description=kind.__doc__ or "")
    if not function:
        return _leaderboard(given)
    file, _, function = function.rpartition(".")
    status: int = getattr(import_module(f"results.{file or 'commands'}"), function)(given)
    return status


def _leaderboard(arguments: flags.LeaderboardFlags) -> int:
    from results.leaderboard.stamp import source_of, unchanged  # light, unlike what makes a site
    from results.ledger.mirror import readable

    watched = "dataset protocol class_set format run_pages flows columns standalone"
    options = {
        name: None if (value := getattr(arguments, name)) is None else str(value)
        for name in watched.split()
    }
    options["width"] = str(shutil.get_terminal_size((120, 24)).columns)
    # A page that compares two rows is linked from the board.
    options["compared"] = " ".join(sorted(path.name for path in arguments.out.glob("compare-*")))
    processes = os.cpu_count() or 1
    ledger = readable(Ledger(arguments.ledger))
    made_from = source_of(ledger.local_root, options, processes)
    kept = unchanged(arguments.out, made_from)
    if kept is not None and not arguments.rebuild:
        print(kept.text)
        for line in kept.warnings:
            print(f"warning: {line}", file=sys.stderr)
        print(f"nothing changed: {arguments.out / kept.first} is as it was")
        return kept.status
    from results.commands import leaderboard_site

    return leaderboard_site(ledger, arguments, made_from, processes)


if __name__ == "__main__":
    gc.disable()  # a short process: nothing here makes cycles, and looking for them costs seconds
    sys.exit(main())
