"""The disk that the environment of this Python takes, and its largest packages.

`python -m benchmarks.environment`, by the Python of the environment to be measured. A megabyte has
10^6 bytes; caches of bytecode that came later are counted in the whole alone.
"""

import argparse
import sys
from importlib.metadata import distributions
from pathlib import Path


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; a link counts nothing."""
    files = (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())
    return sum(path.stat().st_size for path in files)


def packages() -> list[tuple[int, str, str]]:
    """Bytes, name and version of every installed package, the largest first."""
    rows = []
    for package in distributions():
        paths = (Path(str(file.locate())) for file in package.files or ())
        bytes_ = sum(path.stat().st_size for path in paths if path.is_file())
        rows.append((bytes_, package.metadata["Name"], package.version))
    return sorted(rows, reverse=True)


def main() -> None:
    """Print the whole and the largest packages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10, help="of packages that are listed")
    number = parser.parse_args().number
    found = packages()
    print(f"{sys.prefix}: {size_of(Path(sys.prefix)) / 1e6:,.0f} MB, {len(found)} packages")
    for bytes_, name, version in found[:number]:
        print(f"{bytes_ / 1e6:6.0f} MB  {name} {version}")


if __name__ == "__main__":
    main()
