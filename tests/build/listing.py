"""All that a reader must not change below a folder, and names that are no files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

IRREGULAR = ("broken link", "loop", "link", "pipe", "folder", "socket")


def listing(root: Path) -> dict[Path, tuple[object, ...]]:
    """Kinds, sizes, times and bytes by name; times of reading are left out."""
    found: dict[Path, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, content)
    return found


def put_irregular(path: Path, kind: str) -> None:
    """Put something that is no regular file in the place of a name."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "inside").mkdir(parents=True)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = os.open(path.parent, os.O_DIRECTORY)
            try:  # by a short name: the path of a socket has at most 107 bytes
                made.bind(f"/proc/self/fd/{here}/{path.name}")
            finally:
                os.close(here)
    elif kind == "link":
        beside = path.with_name("elsewhere")
        beside.write_text("{}")
        path.symlink_to(beside)
    else:
        path.symlink_to(path.name if kind == "loop" else "nowhere")
