"""One chunk of clips: the unit of work of the ingest."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadnet.base.errors import DadnetError
from dadnet.datasets.index import Rejected
from dadnet.flow.clip import FlowOptions
from dadnet.flow.store import read_flow_file


@dataclass(frozen=True)
class Chunk:
    """Some clips of one subject, and the files that hold their flows and rejections.

    Attributes:
        path: Parquet file of the flows; absent if every clip was rejected.
        rows: rows of the index.
        options: how flows are made.
        landmark_model: file of the landmark model, if one is used.
        preview: whether a contact sheet is made as well.
    """

    path: Path
    rows: list[dict[str, Any]]
    options: FlowOptions
    landmark_model: Path | None = None
    preview: bool = False

    @property
    def done_path(self) -> Path:
        """File that says that the chunk is finished, with its rejected clips."""
        return self.path.with_suffix(".json")

    @property
    def sheet_path(self) -> Path:
        """Contact sheet; absent if every clip was rejected."""
        return self.path.with_suffix(".png")

    @property
    def finished(self) -> bool:
        """Whether the chunk was made whole, and its file can be read.

        With a rejected clip it is made again: its frames may have been repaired since.
        """
        if not self.done_path.exists():
            return False
        try:
            if self.rejected():
                return False
            read_flow_file(self.path)
        except (DadnetError, ValueError, TypeError, KeyError):
            self.done_path.unlink()  # torn by a crash of the machine: it is simply made again
            return False
        return not self.preview or self.sheet_path.exists()

    def rejected(self) -> list[Rejected]:
        """Clips of a finished chunk that could not be used."""
        return [Rejected(**row) for row in self._done()["rejected"]]

    def notes(self) -> Counter[str]:
        """What the card has to say of how files were read, with numbers of clips."""
        return Counter(self._done()["notes"])

    def _done(self) -> dict[str, Any]:
        done: dict[str, Any] = json.loads(self.done_path.read_text(encoding="utf-8"))
        return done
