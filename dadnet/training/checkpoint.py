"""The state of a fold in a file; an interrupted training continues with the same numbers."""

import io
import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dadnet.base.digests import checked_content, code_digest, with_checksum
from dadnet.base.disk import LARGEST_WEIGHTS, read_regular
from dadnet.base.errors import StorageError, first_line
from dadnet.base.location import Location, is_remote, replace_file, stored

# What torch raises for a file that is not whole.
_DAMAGED = (
    OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


@dataclass
class Best:
    """The best epoch so far: `val` UF1, then UAR, then the smaller log-loss."""

    key: tuple[float, float, float] = (-math.inf, -math.inf, -math.inf)
    epoch: int = 0
    # The epoch that last raised UF1 or UAR. Patience counts from it, since the log-loss can go on
    # falling by tiny amounts.
    raised_at: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


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
        """Write a state and its checksum atomically: temporary name, fsync, rename.

        On object storage it is one put.
        """
        origin = {"experiment": self.experiment, "fold": self.fold, "code": code_digest()}
        content = {**origin, "state": dict(state)}
        held = io.BytesIO()
        torch.save(content, held)
        replace_file(self.path, with_checksum(held.getvalue()))

    def load(self) -> dict[str, Any] | None:
        """The newest state, or None if there is none.

        A file that is damaged or has no checksum, or one of another experiment, fold or version of
        the code, is renamed with a warning, and the fold starts again from the beginning. So one
        program alone computes a fold. Nothing in a file can run code.
        """
        try:
            content = checked_content(self._content())
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except StorageError:
            raise
        except FileNotFoundError:
            return None
        except _DAMAGED as bad:
            self.set_aside(first_line(bad))
            return None
        if not isinstance(saved, dict) or set(saved) != {"experiment", "fold", "code", "state"}:
            self.set_aside("not a checkpoint of this package")
            return None
        if (saved["experiment"], saved["fold"]) != (self.experiment, self.fold):
            self.set_aside(f"made for {saved['experiment']} {saved['fold']}")
            return None
        if saved["code"] != code_digest():
            self.set_aside(f"made by another version of the program, code {saved['code']}")
            return None
        state: dict[str, Any] = saved["state"]
        return state

    def _content(self) -> bytes:
        if is_remote(self.path):
            return self.path.read_bytes()
        return read_regular(self.path, most=LARGEST_WEIGHTS)  # a named pipe would wait for ever

    def remove(self) -> None:
        """Delete the state, once the record of the fold is written."""
        self.path.unlink(missing_ok=True)

    def set_aside(self, reason: str) -> None:
        """Rename a state that cannot be used, with a warning."""
        name = f"{self.path.name}.damaged"
        stored(self.path).set_aside(self.path.with_name(name))
        warnings.warn(
            f"checkpoint of {self.fold} set aside as {name} ({reason}); the fold starts anew",
            stacklevel=3,
        )
