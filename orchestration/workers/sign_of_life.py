"""The sign of life of a cluster's head.

Ray notices a lost head after a minute and then ends the driver without a word. A thread asks the
head every second; if it does not answer for some seconds, the run ends: one line, an `ended` event
in the logs, status 3. The states of folds are in the ledger, and the same command goes on.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable

import grpc
import ray

from dadnet.base.boundary import INCOMPLETE
from orchestration.reporting.leave import LEAVING
from orchestration.reporting.progress import end_all
from orchestration.workers import ray_internals

ASK_S = 1.0
ANSWER_S = 2.0
LOST_S = 6.0
# The end of the logs, which may be on storage that is lost too.
END_S = 1.0


class SignOfLife:
    """Whether a head is lost, from its answers.

    Args:
        ask: asks the head; whether it has answered.
        lost_s: seconds without an answer after which it is lost.
        clock: seconds; injected in tests.
    """

    def __init__(
        self,
        ask: Callable[[], bool],
        lost_s: float = LOST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._lost_s, self._clock = ask, lost_s, clock
        self._silent_since: float | None = None

    def is_lost(self) -> bool:
        """Ask once."""
        begun = self._clock()
        if self._ask():
            self._silent_since = None
            return False
        if self._silent_since is None:  # the time before was not asked: a process may be stopped
            self._silent_since = begun
        return self._clock() - self._silent_since >= self._lost_s


def watch_head(address: str) -> None:
    """End this process when the head at this address (host:port) is lost, in a thread."""
    atexit.register(LEAVING.set)  # runs before Ray's own end, which stops a head of this machine
    threading.Thread(target=_watch, args=(address,), daemon=True, name="sign of life").start()


def _watch(address: str) -> None:
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 1000)]
    with grpc.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(ray_internals.CHECK_ALIVE)

        def ask() -> bool:
            try:
                call(b"", timeout=ANSWER_S)
            except grpc.RpcError as error:
                # Without a token it refuses, which is an answer.
                silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                return error.code() not in silent
            return True

        head = SignOfLife(ask)
        while not head.is_lost():
            time.sleep(ASK_S)
            if not _is_on(address):
                return
    if _is_on(address):
        _end(address)


def _is_on(address: str) -> bool:
    """Whether this process is still on the cluster: it may have left it, or have joined another."""
    if LEAVING.is_set() or not ray.is_initialized():
        return False
    return bool(ray.get_runtime_context().gcs_address == address)


def _end(address: str) -> None:
    """End the process: its main thread may be in a call of Ray that does not return."""
    ending = threading.Thread(target=end_all, args=("HeadLostError",), daemon=True)
    ending.start()
    ending.join(END_S)
    line = (
        f"error: the head of the Ray cluster at {address} is lost; what is finished is kept: give "
        "the same command again\n"
    )
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.write(line if stream is sys.stderr else "")
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(INCOMPLETE)
