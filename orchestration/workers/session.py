"""The Ray that a run starts for itself: its private folder, and the end of all its processes.

Ray makes its folder of sockets and logs writable for every user of the machine. So each run has a
folder of its own below one that only this user may enter. A lock in it, which the system releases
however the run ends, tells that the run lives.

Ray's agents outlive a driver that was killed by up to a minute. A small guard process waits for the
end of the driver and then ends what is left of this Ray.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dadnet.base.errors import DadnetError
from orchestration.workers import guard

# Folders of runs are removed by later runs when they are older.
KEPT_S = 24 * 3600.0
# In the environment of all processes of a Ray: by it the guard knows them.
FOLDER = "DADNET_RAY_FOLDER"
LAST_RUN = "last-run"  # a link to the newest folder
_LOCK = "lock"
_PARENT = "dadnet-"
# Ray's longest path of a socket, of the 107 bytes that Linux allows.
_SOCKET = "/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LONGEST = 107 - len(_SOCKET) - len(f"/{_PARENT}{os.getuid()}/123456")
_held: list[int] = []  # locks, until this process ends


def private_folder() -> Path:
    """Make a new folder for Ray that no other user can enter, and remove old ones.

    It is in `RAY_TMPDIR`, or in the system's temporary folder; in /tmp where that path is too long
    for sockets.

    Raises:
        DadnetError: if no folder can be made.
    """
    try:
        parent = _parent()
        _sweep(parent)
        folder = parent / secrets.token_hex(3)  # short, and it fails if another run has it
        folder.mkdir(mode=0o700)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise DadnetError(
            f"temporary folder: expected one where Ray can write, got {error.filename}: "
            f"{error.strerror}; set RAY_TMPDIR to a short path on a local disk"
        ) from error
    _held.append(lock)
    link = parent / LAST_RUN  # for Prometheus, which needs a name that stays
    link.unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):  # another run begins at this moment
        link.symlink_to(folder)
    return folder


def _parent() -> Path:
    """The folder of this user for all runs."""
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
    if len(os.fsencode(base)) > _LONGEST:
        base = Path("/tmp")
    parent = base / f"{_PARENT}{os.getuid()}"
    try:
        parent.mkdir(mode=0o700)
    except FileExistsError:
        found = parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            # Another user made it first, to get at this run: it is not used.
            return Path(tempfile.mkdtemp(prefix=_PARENT, dir=base))
        parent.chmod(0o700)
    return parent


def is_of_a_run(path: str) -> bool:
    """Whether Ray's folder is that of a run, which started this Ray for itself."""
    return any(part.startswith(_PARENT) for part in Path(path).parts)


def _sweep(parent: Path) -> None:
    """Remove folders that are older than a day and whose runs have ended."""
    for folder in parent.glob("??????"):
        try:
            if time.time() - folder.lstat().st_mtime > KEPT_S and not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another run removes it at this moment
            continue


def _is_in_use(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def start_guard(folder: Path) -> None:
    """Start the process that ends what is left of the Ray in this folder after this process."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdin is not None
    _held.append(os.dup(process.stdin.fileno()))  # it sees the end of this process, however it ends
    process.stdin.close()
    process.returncode = 0  # it outlives this process: no warning about that
