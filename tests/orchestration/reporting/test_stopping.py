import gc
import os
import signal

import pytest

from orchestration.reporting.stopping import StopRequest


class Swallows:
    """Python prints an exception in a destructor and goes on."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_signal_in_a_destructor_is_not_lost():
    with StopRequest() as stop:
        Swallows()
        gc.collect()
        assert stop()
        assert stop.by_signal


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the end has begun: nothing disturbs it


def test_a_hangup_that_is_ignored_as_under_nohup_does_not_stop():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_was_started_with_ctrl_c_ignored_can_be_stopped():
    # As a shell does to what it starts in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
