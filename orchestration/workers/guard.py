"""Ends what a Ray leaves behind. A program of its own that needs the standard library only.

`python guard.py FOLDER` waits until its standard input is closed, which the end of the driver does.
Then it ends every process of this user that was started with the folder of this Ray in its
environment, or that is one of Ray's with the folder in its command line.
"""

import os
import signal
import sys
import time
from pathlib import Path

# Ray's own end after that of its driver; all of it is over well within 10 s.
GRACE_S = 3.0
ROUNDS = 10


def left_of(folder: str) -> list[int]:
    """Processes of this user that belong to the Ray in a folder."""
    mark, found = os.fsencode(folder) + b"/", []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.getuid() or int(process.name) == os.getpid():
                continue
            words = (process / "cmdline").read_bytes()
            # A user's own program may have the folder in its command line: one that reads a log.
            is_rays = mark in words and b"/ray/" in words
            if is_rays or mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended, or is not ours to look at
            continue
    return found


def main() -> None:
    """Wait for the end of the driver, then for that of its Ray."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    until = time.monotonic() + GRACE_S
    while left_of(sys.argv[1]) and time.monotonic() < until:
        time.sleep(0.2)
    for _ in range(ROUNDS):
        if not (left := left_of(sys.argv[1])):
            return
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)


if __name__ == "__main__":
    main()
