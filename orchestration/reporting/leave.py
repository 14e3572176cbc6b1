"""The end of a command's process; flags, messages and statuses are in `dadnet.base.cli`."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from dadnet.base.boundary import END_SIGNALS

AT_MOST_S = 20.0  # of the end; a lost Ray would keep the process for minutes

LEAVING = threading.Event()  # the end has begun: Ray's head may go


def leave(status: int) -> NoReturn:
    """End this process now with this status, with Ray shut down and everything written.

    A normal exit of the interpreter frees the objects of torch, Ray and pandas one by one, and
    waits for logs of Ray that are not shown: 1.5 s after the last line.
    """
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    LEAVING.set()
    deadline = threading.Timer(AT_MOST_S, os._exit, (status,))
    deadline.daemon = True
    deadline.start()
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
    # Private, checked on Python 3.10 to 3.13: `os._exit` runs no exit functions, and nothing public
    # runs them before the interpreter begins to end. tests/orchestration/reporting/test_leave.py
    # fails if it goes.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the reader has ended, or its disk is full
            stream.flush()
    os._exit(status)
