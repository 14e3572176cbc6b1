"""Many damaged and hostile inputs of every kind: tracebacks, hangs and files outside, counted.

``python -m benchmarks.fuzz --inputs 20000 --seed 0``; exit status 1 if there is any. The kinds are
those of `tests/fuzz`, where the suite runs a few inputs of each.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import write
from tests.fuzz.input_targets import TARGETS as INPUTS
from tests.fuzz.ledger_targets import TARGETS as LEDGER
from tests.fuzz.running import Counts, fuzz


def main() -> int:
    """Run from the command line; returns 1 if an input did what none may do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one kind, such as records")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    flags = parser.parse_args()
    targets = [t for t in (*INPUTS, *LEDGER) if flags.only in ("", t.name)]
    each = -(-flags.inputs // len(targets))
    print(f"{'kind':14}{'inputs':>8}{'refused':>9}{'tracebacks':>12}{'hangs':>7}{'outside':>9}  s")
    rows: list[dict[str, object]] = []
    total = Counts()
    for target in targets:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts = fuzz(target, Path(folder) / "root", each, 1000 * flags.seed)
        seconds = round(time.monotonic() - began, 1)
        print(_line(target.name, counts), f"{seconds:5.0f}", flush=True)
        for example in counts.examples[:5]:
            print(f"    {example}"[:1000], file=sys.stderr)
        rows.append({"kind": target.name, **asdict(counts), "seconds": seconds})
        for name in ("inputs", "refused", "tracebacks", "hangs", "outside"):
            setattr(total, name, getattr(total, name) + getattr(counts, name))
    print(_line("all", total))
    if flags.json is not None:
        write("fuzz", [{"kind": "all", **asdict(total)}, *rows], flags.json)
    return int(total.bad > 0)


def _line(name: str, counts: Counts) -> str:
    numbers = f"{counts.inputs:8}{counts.refused:9}{counts.tracebacks:12}{counts.hangs:7}"
    return f"{name:14}{numbers}{counts.outside:9}"


if __name__ == "__main__":
    sys.exit(main())
