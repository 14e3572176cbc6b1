"""A step that takes longer than a second says on stderr what it is."""

from collections.abc import Callable
from typing import ClassVar

import pytest

from orchestration.reporting.waiting import waiting


class Timer:
    """A timer whose time has come when a test says so."""

    made: ClassVar[list["Timer"]] = []

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.running = seconds, call, False
        Timer.made.append(self)

    def start(self) -> None:
        self.running = True

    def cancel(self) -> None:
        self.running = False

    def fire(self) -> None:
        if self.running:
            self.call()


@pytest.mark.parametrize(("quiet", "line"), [(False, "reading a?b ...\n"), (True, "")])
def test_a_long_step_is_one_line_on_stderr(capsys, quiet, line):
    with waiting("reading a\x1bb", quiet=quiet, timer=Timer):
        Timer.made[-1].fire()
    assert Timer.made[-1].seconds <= 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


def test_a_short_step_says_nothing(capsys):
    with waiting("reading", timer=Timer):
        pass
    Timer.made[-1].fire()
    assert capsys.readouterr().err == ""
