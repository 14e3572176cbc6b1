"""Write small copies of the real datasets in their official layouts.

python -m dadnet.datasets.copies --out data/copies
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.datasets.copies.write import COPIES, write_copy


@dataclass(frozen=True, kw_only=True)
class CopyFlags:
    """What to write."""

    out: Path = Path("data/copies")
    """Folder of folders."""
    copy: Annotated[
        str | None, tyro.conf.arg(help=f"Write only this copy: {', '.join(COPIES)}.")
    ] = None
    subjects: int = 4
    """Number of subjects."""
    size: int = 96
    """Side of the frames in pixels; 0: empty files."""

    def __post_init__(self) -> None:
        if self.copy is not None and self.copy not in COPIES:
            raise DadnetError(f"copy: expected one of {', '.join(COPIES)}, got {self.copy!r}")


def write_copies(flags: CopyFlags) -> int:
    """Write the copies; returns the exit status."""
    for name in [flags.copy] if flags.copy else COPIES:
        write_copy(name, flags.out / name, subjects=flags.subjects, size=flags.size)
        print(f"{flags.out / name}: a copy of {COPIES[name][0]}")
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    prog = "python -m dadnet.datasets.copies"
    return cli.Command(prog, CopyFlags).run(write_copies, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
