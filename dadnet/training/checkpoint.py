"""The state of a fold in a file; an interrupted training continues with the same numbers."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dadnet.base.location import Location, write_over
from dadnet.base.remote import RemotePath, StorageError


@dataclass(frozen=True)
class CheckpointFile:
    """The file of the state of one fold.

    Attributes:
        path: the file or object; it appears whole or not at all.
        experiment: digest of the experiment; a state of another one is not used.
        fold: the fold's name.
    """

    path: Location
    experiment: str
    fold: str

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a state atomically: temporary name, fsync, rename; one put on object storage."""
        content = {"experiment": self.experiment, "fold": self.fold, "state": dict(state)}
        held = io.BytesIO()
        torch.save(content, held)
        write_over(self.path, held.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The newest state, or None if there is none.

        A damaged file, or one of another experiment or fold, is renamed with a warning, and the
        fold starts again from the beginning. Nothing in a file can run code.
        """
        try:
            source: io.BytesIO | Path
            if isinstance(self.path, RemotePath):
                source = io.BytesIO(self.path.read_bytes())
            else:
                source = self.path
            saved = torch.load(source, map_location="cpu", weights_only=True)
        except StorageError:
            raise
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as bad:
            self._set_aside(str(bad).splitlines()[0] if str(bad) else type(bad).__name__)
            return None
        if not isinstance(saved, dict) or set(saved) != {"experiment", "fold", "state"}:
            self._set_aside("not a checkpoint of this package")
            return None
        if (saved["experiment"], saved["fold"]) != (self.experiment, self.fold):
            self._set_aside(f"made for {saved['experiment']} {saved['fold']}")
            return None
        state: dict[str, Any] = saved["state"]
        return state

    def remove(self) -> None:
        """Delete the state, once the record of the fold is written."""
        self.path.unlink(missing_ok=True)

    def _set_aside(self, reason: str) -> None:
        name = f"{self.path.name}.damaged"
        if isinstance(self.path, RemotePath):
            self.path.with_name(name).replace_with(self.path.read_bytes())
            self.path.unlink()
        else:
            self.path.replace(self.path.with_name(name))
        warnings.warn(
            f"checkpoint of {self.fold} set aside as {name} ({reason}); the fold starts anew",
            stacklevel=3,
        )
