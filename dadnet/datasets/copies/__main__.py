"""Write small copies of the real datasets: `python -m dadnet.datasets.copies --out data/copies`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dadnet.base.errors import DadnetError
from dadnet.datasets.copies.write import COPIES, write_copy


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: write the copies; exit status 0 if they are there, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m dadnet.datasets.copies",
        description="Write small copies of the real datasets in their official layouts.",
    )
    parser.add_argument("--out", type=Path, default=Path("data/copies"), help="folder of folders")
    parser.add_argument("--copy", choices=tuple(COPIES), help="only this one (default: all)")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--size", type=int, default=96, help="side of the frames; 0: empty files")
    given = parser.parse_args(argv)
    for name in [given.copy] if given.copy else COPIES:
        try:
            write_copy(name, given.out / name, subjects=given.subjects, size=given.size)
        except DadnetError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"{given.out / name}: a copy of {COPIES[name][0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
