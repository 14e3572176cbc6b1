"""A line for every step that takes longer than a second, so that no command is silent for long."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dadnet.base.boundary import visible


@contextmanager
def waiting(
    text: str, *, quiet: bool = False, timer: Callable[..., threading.Timer] = threading.Timer
) -> Iterator[None]:
    """Say on stderr what a command does, if that takes more than a second.

    Args:
        text: such as "reading flows/casme2".
        quiet: say nothing.
        timer: injected in tests.
    """
    line = timer(1.0, lambda: print(f"{visible(text)} ...", file=sys.stderr))
    line.daemon = True
    if not quiet:
        line.start()
    try:
        yield
    finally:
        line.cancel()
