"""What a person sees of a search: a line per trial, the folds that run, warnings."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from dadnet.base.location import Location
from orchestration.reporting.progress import Progress


class StudyProgress(Progress):
    """The progress of a run, without a line per fold: a search has thousands.

    Args:
        events: path of the event log.
        epochs: of a fold at most.
        console: where to draw.
    """

    def __init__(self, events: Location, epochs: int, console: Console) -> None:
        super().__init__(events, epochs, "search", console)
        self._said = ""

    def __enter__(self) -> "StudyProgress":
        super().__enter__()
        return self

    def say(self, line: str) -> None:
        """One line, above the live table where there is one."""
        self._said = line
        self.console.print(line, markup=False)

    def _tell(self, event: Mapping[str, Any], snapshot: Mapping[str, Any]) -> None:
        if event["event"] != "finished":
            super()._tell(event, snapshot)

    def _table(self, snapshot: Mapping[str, Any]) -> Group:
        running, waiting = snapshot["running"], snapshot["counts"]["waiting"]
        table = Table(box=None, pad_edge=False)
        for name in ("experiment/fold", "epoch", "val UF1", "worker"):
            table.add_column(name)
        for row in running:
            info = row["info"]
            figure = f"{info['val_uf1']:.3f}" if "val_uf1" in info else ""
            table.add_row(
                row["name"], f"{info.get('epoch', 0)}/{self.epochs}", figure, row["worker"]
            )
        head = Text(f"{self._said}\n{len(running)} folds running, {waiting} waiting")
        return Group(head, table)
