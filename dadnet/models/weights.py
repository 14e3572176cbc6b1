"""Weight files and the digest of weights.

Nothing here can run code from a file: only safetensors are read. A file that is written here holds
the checksum of all its bytes among its metadata; a file of another origin need not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dadnet.base.digests import checksum, parts_digest
from dadnet.base.disk import LARGEST_WEIGHTS, check_regular
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location, replace_file, stored

# Name of the checksum among the metadata. It is that of the file with zeros in its place.
_CHECKSUM = "dadnet_sha256"
_ZEROS = b"0" * 64
_STATED = re.compile(rb'"dadnet_sha256":"([0-9a-f]{64})"')


class LoadedWeights(NamedTuple):
    """A weight file: its tensors and its metadata."""

    weights: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(path: str | Location, *, own: bool = False) -> LoadedWeights:
    """Read the tensors of a safetensors file, on the CPU, and its metadata, which may be empty.

    Args:
        path: The file.
        own: Whether it must be of `save_weights`, with its checksum.

    Raises:
        DadnetError: If the file is absent, damaged or of another kind.
    """
    path = location(path)
    if path.suffix != ".safetensors":
        raise DadnetError(
            f"expected a .safetensors file, got {path} (other formats can run code when opened; "
            "`dadnet convert` makes one of a .pth)"
        )
    try:
        with stored(path).local_copy() as copy:
            check_regular(copy, LARGEST_WEIGHTS)
            with safe_open(copy, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                if own or _CHECKSUM in metadata:
                    _check(path, copy.read_bytes())
                metadata.pop(_CHECKSUM, None)
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return LoadedWeights(weights, metadata)
    except FileNotFoundError:
        raise DadnetError(f"expected a weight file at {path}, got none") from None
    except (SafetensorError, OSError) as error:
        raise DadnetError(f"expected a whole safetensors file at {path}: {error}") from error


def stated_input_size(path: str | Location) -> int | None:
    """Side of the flows that a weight file says its network reads; None if it does not say.

    Only its metadata are read, and a file that cannot be used is left to `load_weights` to refuse.
    """
    try:
        with (
            stored(location(path)).local_copy() as copy,
            safe_open(copy, framework="pt", device="cpu") as file,
        ):
            stated = (file.metadata() or {}).get("input_size", "")
    except (SafetensorError, OSError, DadnetError):
        return None
    return int(stated) if re.fullmatch("[0-9]{1,5}", stated) else None


def save_weights(
    path: str | Location, model: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write weights atomically: temporary name, fsync, rename.

    Args:
        path: A name that ends in .safetensors; its folder is made.
        model: A model (its `describe()` is added to the metadata), or a state dict.
        metadata: Text about the weights.

    Raises:
        DadnetError: If the name ends otherwise, or metadata names what `describe()` gives.
    """
    path = location(path)
    if path.suffix != ".safetensors":
        raise DadnetError(f"expected a path that ends in .safetensors, got {path}")
    described: dict[str, str] = {}
    if isinstance(model, nn.Module):
        described = getattr(model, "describe", dict)()
        model = model.state_dict()
    if clash := sorted(set(described) & set(metadata)):
        raise DadnetError(f"expected metadata without the keys of describe(), got {clash}")
    # Clones: the format refuses tied weights, which share their memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.items()}
    stated = {**described, **metadata, _CHECKSUM: _ZEROS.decode()}
    data = safetensors.torch.save(tensors, stated)
    replace_file(path, _with_stated(data, checksum(data).encode()))


def _with_stated(data: bytes, digits: bytes) -> bytes:
    """Return the bytes of a file with other digits as its checksum."""
    start, end = next(_STATED.finditer(data)).span(1)
    return data[:start] + digits + data[end:]


def _check(path: Location, data: bytes) -> None:
    stated = _STATED.search(data)
    if stated is None:
        raise DadnetError(f"expected a weight file with its checksum at {path}, got none")
    if checksum(_with_stated(data, _ZEROS)).encode() != stated[1]:
        raise DadnetError(f"the checksum of {path} does not match its content; it is damaged")


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Digest of weights, independent of device, order and memory format.

    16 hexadecimal digits: SHA-256 over the sorted names with dtype, shape and bytes.
    """
    return parts_digest(part for name in sorted(state_dict) for part in _parts(name, state_dict))


def _parts(name: str, state_dict: Mapping[str, Tensor]) -> tuple[bytes, bytes]:
    value = state_dict[name].detach().cpu().contiguous()
    head = f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode()
    return head, value.reshape(-1).view(torch.uint8).numpy().tobytes()
