"""What a run survives: faults at random points, and the ledger afterwards.

`python -m benchmarks.faults --rounds 5 --faults worker driver storage`. Each round is a
separate run on real processes, which is disturbed (see `fault_rounds`, `small_faults` and
`storage_rounds`) and, if it ended, repeated. Its ledger must equal that of an undisturbed run byte
for byte, except for times, hosts and tries; each fold must have been finished exactly once. Exit
status 1 if a round failed. `--page docs/faults.md` puts the table of the rounds there.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.disturbed import CLIPS_EACH, SIZE, SUBJECTS, Round, SkippedError, check
from benchmarks.fault_rounds import PROCESS_FAULTS
from benchmarks.loso import write_inputs
from benchmarks.small_faults import SMALL_FAULTS
from benchmarks.storage_rounds import fail_storage
from dadnet.base.location import replace_file

BEGIN, END = "<!-- rounds -->", "<!-- end of the rounds -->"
FAULTS = {**PROCESS_FAULTS, "storage": fail_storage, **SMALL_FAULTS}


@contextmanager
def bench() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with inputs, and the content of the ledger of an undisturbed run."""
    root = Path(tempfile.mkdtemp())
    try:
        write_inputs(root, SUBJECTS, CLIPS_EACH, SIZE)
        (root / "undisturbed").mkdir()
        calm = Round(root, root / "undisturbed", random.Random(0))
        calm.finish(workers=0)
        check(len(calm.content()) == SUBJECTS, "the undisturbed run is incomplete")
        yield root, calm.content()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def disturb(root: Path, undisturbed: dict[str, str], fault: str, number: int) -> dict[str, Any]:
    """One round of a fault; raises `NotHeldError`."""
    folder = root / f"{fault}{number}"
    folder.mkdir()
    this = Round(root, folder, random.Random(f"{fault} {number}"), number)
    started = time.monotonic()
    FAULTS[fault](this)
    this.check_against(undisturbed)
    return {"held": True, "seconds": time.monotonic() - started, **this.notes}


def rounds_of(file: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The rounds in a report, by fault and number."""
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return {(row["fault"], row["round"]): row for row in rows}


def table(rows: list[dict[str, Any]]) -> str:
    """The rounds of every fault, in Markdown."""
    lines = ["| fault | what happens | rounds | held |", "|---|---|---|---|"]
    for fault, function in FAULTS.items():
        held = [row["held"] for row in rows if row["fault"] == fault and row["held"] is not None]
        if held:
            what = " ".join((function.__doc__ or "").split())
            lines.append(f"| `{fault}` | {what} | {len(held)} | {sum(held)} |")
    every = [row["held"] for row in rows if row["held"] is not None]
    return "\n".join([*lines, f"| all | | {len(every)} | {sum(every)} |"])


def update_page(page: Path, made: str) -> None:
    """Put the table between the two comments of a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    replace_file(page, f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}")


def commit() -> str:
    """The commit of the tested tree."""
    words = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Disturb and report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rounds to this file")
    parser.add_argument(
        "--with-those-of",
        type=Path,
        nargs="+",
        default=[],
        help="reports whose rounds are kept in this one, unless they are made again",
    )
    parser.add_argument("--page", type=Path, help="put the table of the rounds into this page")
    parser.add_argument("--rounds", type=int, default=2, help="of every fault; 0: none")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    given = parser.parse_args()
    rows = {key: row for file in given.with_those_of for key, row in rounds_of(file).items()}
    held = True
    if given.rounds:
        with bench() as (root, undisturbed):
            for fault in given.faults:
                for number in range(given.first, given.first + given.rounds):
                    row = {"fault": fault, "round": number, "commit": commit()}
                    try:
                        row |= disturb(root, undisturbed, fault, number)
                    except SkippedError as error:
                        row |= {"held": None, "why": str(error)}
                    except Exception as error:  # the rounds before it count all the same
                        row |= {"held": False, "why": f"{type(error).__name__}: {error}"}
                        held = False
                    print(row, flush=True)
                    rows[fault, number] = row
    made = [rows[key] for key in sorted(rows)]
    report("faults", made, given.json)
    if given.page:
        update_page(given.page, table(made))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
