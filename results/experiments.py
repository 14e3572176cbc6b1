"""The commands that keep house in a ledger: list, name, remove and measure experiments."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, is_remote, stored
from results import flags
from results.leaderboard.cells import UNKNOWN
from results.leaderboard.columns import COLUMNS
from results.leaderboard.names import check_free, find_experiment, names_in, put_name
from results.leaderboard.ranking import Filters, leaderboard
from results.leaderboard.text import printed, terminal_width, titled_table
from results.ledger.files import file_name
from results.ledger.ledger import Ledger
from results.ledger.mirror import readable
from results.ledger.records import Experiment

DONE = 0
_KINDS = ("folds", "weights", "features", "checkpoints")
_OTHER = "other"
# The lease of a run, which writes its heartbeat far more often.
_ALIVE_S = 60.0


def list_runs(arguments: flags.RunsFlags) -> int:
    """Print the experiments of a ledger, the newest last."""
    ledger = Ledger(arguments.ledger)
    board = leaderboard(ledger, filters=Filters(dataset=arguments.dataset))
    rows = sorted(
        (row for row in board.rows if not row.subset), key=lambda row: row.made.last or ""
    )
    sizes = sizes_of(ledger)
    texts = {column.key: column.text for column in COLUMNS}
    cells = [
        (
            row.name,
            row.experiment.digest,
            row.experiment.dataset,
            texts["folds_done"](row),
            UNKNOWN if row.summary is None else f"{row.summary.uf1.value or 0.0:.3f}",
            size_text(sum(sizes[_key(row.experiment)].values())),
            texts["date"](row),
        )
        for row in rows
    ]
    heads = ("Name", "Digest", "Dataset", "Folds", "UF1", "Size", "Date")
    print(_table(f"Experiments in {arguments.ledger}", heads, cells), end="")
    return DONE


def rename(arguments: flags.RenameFlags) -> int:
    """Give an experiment a name."""
    ledger = Ledger(arguments.ledger)
    experiment = find_experiment(readable(ledger), arguments.experiment)
    check_free(ledger, experiment, arguments.name)
    put_name(ledger, experiment, arguments.name)
    print(f"{experiment.digest} is now {arguments.name}")
    return DONE


def remove(arguments: flags.RmFlags) -> int:
    """Remove an experiment, once the user has agreed.

    Raises:
        DadnetError: if there is nobody to ask, or the answer is not yes.
    """
    ledger = Ledger(arguments.ledger)
    local = readable(ledger)
    experiment = find_experiment(local, arguments.experiment)
    owners = ledger.folder(experiment) / "claims" / "owners"
    if any(_age_s(owners / name) < _ALIVE_S for name in stored(owners).names()):
        raise DadnetError(f"rm: a run makes folds of {experiment.digest}; stop it first")
    done = len(experiment.folds) - len(local.missing(experiment))
    size = size_text(sum(sizes_of(ledger)[_key(experiment)].values()))
    what = (
        f"{names_in(local)[experiment.digest]} ({experiment.digest}, {experiment.dataset}): "
        f"{done} of {len(experiment.folds)} folds, {size}"
    )
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise DadnetError(f"rm: expected --yes where nobody can be asked; kept {what}")
        if input(f"remove {what}? [y/N] ").strip().casefold() not in ("y", "yes"):
            raise DadnetError("rm: expected y or yes; nothing was removed")
    stored(ledger.folder(experiment)).remove_tree()
    print(f"removed {what}")
    return DONE


def disk_usage(arguments: flags.DuFlags) -> int:
    """Print how much space each experiment takes, the largest first."""
    ledger = Ledger(arguments.ledger)
    sizes, names = sizes_of(ledger), {}
    if not sizes:
        raise DadnetError(f"expected a ledger with experiments, got: nothing in {ledger.root}")
    local = readable(ledger)
    experiments = local.experiments()
    called = names_in(local, experiments)
    names = {_key(e): f"{called[e.digest]}, {e.dataset}, {e.digest}" for e in experiments}
    total: Counter[str] = Counter()
    cells = []
    for key, kinds in sorted(sizes.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        total.update(kinds)
        cells.append(_sizes(names.get(key, key), kinds))
    cells.append(_sizes("all", total))
    heads = ("Experiment", *(kind.capitalize() for kind in (*_KINDS, _OTHER)), "Total")
    print(_table(f"Space of {arguments.ledger}", heads, cells), end="")
    return DONE


def sizes_of(ledger: Ledger) -> Mapping[str, Counter[str]]:
    """Return bytes by kind of file of each experiment or search, by its folder in the ledger."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for name, size in _files(ledger):
        dataset, _, rest = name.partition("/")
        digest, _, inner = rest.partition("/")
        kind = inner.partition("/")[0]
        if inner:
            sizes[f"{dataset}/{digest}"][kind if kind in _KINDS else _OTHER] += size
    return sizes


def size_text(size: int) -> str:
    """Return a number of bytes for people, such as ``1.2 MB``."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return (
        f"{number:.0f}\N{NO-BREAK SPACE}{unit}"
        if unit == "B" or number >= 99.5
        else (f"{number:.1f}\N{NO-BREAK SPACE}{unit}")
    )


def _files(ledger: Ledger) -> Iterator[tuple[str, int]]:
    """Yield name below the ledger and size of every file; links are not followed."""
    if is_remote(ledger.root):
        yield from ((entry.name, entry.size) for entry in ledger.root.entries())
        return
    for folder, _, names in os.walk(ledger.root):
        for name in names:
            path = Path(folder, name)
            try:
                size = path.lstat().st_size
            except FileNotFoundError:  # a run removes its checkpoints meanwhile
                continue
            yield path.relative_to(ledger.root).as_posix(), size


def _age_s(path: Location) -> float:
    """Return the age of a file in seconds; infinite if it is gone."""
    modified = stored(path).modified()
    return math.inf if modified is None else time.time() - modified.timestamp()


def _key(experiment: Experiment) -> str:
    return f"{file_name(experiment.dataset)}/{experiment.digest}"


def _sizes(name: str, kinds: Counter[str]) -> tuple[str, ...]:
    parts = (size_text(kinds[kind]) if kinds[kind] else UNKNOWN for kind in (*_KINDS, _OTHER))
    return (name, *parts, size_text(sum(kinds.values())))


def _table(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table in which the first column is wrapped between words, and no other one."""
    table = titled_table(title)
    for number, head in enumerate(heads):
        right = head not in ("Name", "Experiment", "Digest", "Dataset", "Date")
        table.add_column(
            head,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=number > 0,
            min_width=max(len(row[number]) for row in cells) if number and cells else None,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    lines: list[RenderableType] = [table]
    return printed(lines, terminal_width())
