"""A live table in a notebook, which needs no widgets: one display that is replaced."""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

BETWEEN_S = 0.5


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookLive:
    """What `rich.live.Live` is on a terminal.

    Args:
        clock: seconds; injected in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._shown_at = clock, -BETWEEN_S
        self._display: Any = None

    def start(self) -> None:
        """Make the display."""
        from IPython.display import HTML, display

        self._display = display(HTML(""), display_id=True)  # type: ignore[no-untyped-call]

    def update(self, table: RenderableType, *, refresh: bool = False) -> None:
        """Replace what is shown, at most twice in a second: every picture is stored and sent."""
        if self._clock() - self._shown_at < BETWEEN_S:
            return
        from IPython.display import HTML

        self._shown_at = self._clock()
        # Drawn in memory: rich would show it as a display of its own.
        console = Console(record=True, width=100, file=io.StringIO(), force_jupyter=False)
        console.print(table)
        code = '<pre style="line-height: normal">{code}</pre>'
        html = console.export_html(inline_styles=True, code_format=code)
        self._display.update(HTML(html))  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """Leave nothing behind, as on a terminal."""
        if self._display is not None:
            from IPython.display import HTML

            self._display.update(HTML(""))  # type: ignore[no-untyped-call]
