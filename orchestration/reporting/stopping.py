"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a request that loops ask for.

Python raises `KeyboardInterrupt` at any point of the main thread. In a destructor, in a callback of
the garbage collector or of Ray's C++ core it is only printed, and the run continues. A flag cannot
be lost, and it leaves time to write checkpoints.
"""

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from dadnet.base.boundary import END_SIGNALS

# Seconds from the request within which the workers of a run keep their states: most schedulers
# and clouds give 30 between SIGTERM and SIGKILL.
GRACE_S = 25.0


class StopRequest:
    """Whether this process is to stop: call it to know.

    As a context manager it handles the signals, and restores their handlers at the end.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}
        self.by_signal = False
        self._raised = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask this process to stop."""
        self._asked.set()

    def install(self, signals: Sequence[int] = END_SIGNALS) -> None:
        """Handle the signals; again after `ray.init`, which handles SIGTERM itself.

        A SIGHUP that is ignored, as under nohup, stays so. Outside of the main thread, as in a
        notebook's worker, they are left alone.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signals:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    def __enter__(self) -> "StopRequest":
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again, self.by_signal = self.by_signal, True
        self._asked.set()
        if again and number == signal.SIGINT and not self._raised:  # pressed again: do not wait
            self._raised = True  # once more would only disturb the end
            raise KeyboardInterrupt


# The request of a Ray worker process, whose training is not in the main thread.
WORKER_STOP = StopRequest()


def install_in_worker() -> None:
    """Handle SIGTERM in this worker process: it writes the states of its folds and ends."""
    WORKER_STOP.install((signal.SIGTERM,))
