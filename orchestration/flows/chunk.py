"""One chunk of clips: the unit of work of the ingest."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadnet.base.digests import checksum, digest16
from dadnet.base.errors import DadnetError
from dadnet.base.location import replace_file, stored
from dadnet.datasets.index import Rejected
from dadnet.flow.clip import FlowOptions
from results.ledger.files import bytes_of
from results.ledger.sealed import SCHEMA, seal, unseal


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
        """File that says that the chunk is finished, with rejected clips and checksums."""
        return self.path.with_suffix(".json")

    @property
    def sheet_path(self) -> Path:
        """Contact sheet; absent if every clip was rejected."""
        return self.path.with_suffix(".png")

    @property
    def finished(self) -> bool:
        """Whether the chunk was made, and its files are those that were written.

        With a rejected clip it is made again: its frames may have been repaired since. Damaged
        files are renamed with a warning.
        """
        try:
            if (data := bytes_of(self.done_path)) is None:
                return False
            done = unseal(data, "chunk")
            if done.get("clips") != self._clips:
                raise DadnetError("it is of other clips")
            if done["rejected"]:
                return False
            for name, path in self._files.items():
                if done["files"][name] != _checksum_of(path):
                    raise DadnetError(f"the checksum of {path.name} does not match its content")
        except DadnetError as error:
            self._set_aside(str(error))
            return False
        return not self.preview or done["files"]["sheet"] is not None

    def finish(self, rejected: Sequence[Mapping[str, Any]], notes: Mapping[str, int]) -> None:
        """Write that the chunk is finished, with the checksums of its files."""
        done = {
            "schema": SCHEMA,
            "clips": self._clips,
            "rejected": list(rejected),
            "notes": dict(notes),
            "files": {name: _checksum_of(path) for name, path in self._files.items()},
        }
        replace_file(self.done_path, seal(done))

    @property
    def _files(self) -> dict[str, Path]:
        return {"flows": self.path, "sheet": self.sheet_path}

    @property
    def _clips(self) -> str:
        """Digest of the ids of the chunk's clips."""
        return digest16([str(row["clip_id"]) for row in self.rows])

    def _set_aside(self, reason: str) -> None:
        for path in (self.done_path, *self._files.values()):
            stored(path).set_aside(path.with_name(f"{path.name}.damaged"))
        warnings.warn(
            f"chunk {self.path.stem} set aside as {self.path.name}.damaged ({reason}); its "
            f"{len(self.rows)} clips are made again",
            stacklevel=3,
        )

    def rejected(self) -> list[Rejected]:
        """Clips of a finished chunk that could not be used."""
        return [Rejected(**row) for row in self._done()["rejected"]]

    def notes(self) -> Counter[str]:
        """What the card has to say of how files were read, with numbers of clips."""
        return Counter(self._done()["notes"])

    def _done(self) -> dict[str, Any]:
        return unseal(self.done_path.read_bytes(), "chunk")


def _checksum_of(path: Path) -> str | None:
    data = bytes_of(path)
    return None if data is None else checksum(data)
