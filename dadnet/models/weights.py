"""Weight files and the digest of weights.

Nothing here can run code from a file: only safetensors are read.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location, write_over
from dadnet.base.remote import RemotePath


class LoadedWeights(NamedTuple):
    """A weight file: its tensors and its metadata."""

    weights: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(path: str | Location) -> LoadedWeights:
    """Read a safetensors file.

    Args:
        path: The file.

    Returns:
        Tensors on the CPU, and the metadata (empty if there is none).

    Raises:
        DadnetError: If the file is absent, damaged or of another kind.
    """
    path = location(path)
    if path.suffix != ".safetensors":
        raise DadnetError(
            f"expected a .safetensors file, got {path} (other formats can run code when opened; "
            "`dadnet convert` makes one of a .pth)"
        )
    if isinstance(path, RemotePath):
        return _load_remote(path)
    if not path.is_file():
        raise DadnetError(f"expected a weight file at {path}, got none")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return LoadedWeights({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DadnetError(f"expected a whole safetensors file at {path}: {error}") from error


def _load_remote(path: RemotePath) -> LoadedWeights:
    """By a temporary copy, since the reader needs a file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DadnetError(f"expected a weight file at {path}, got none") from None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        try:
            return load_weights(copy)
        except DadnetError as error:
            raise DadnetError(str(error).replace(str(copy), str(path))) from error


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
        describe = getattr(model, "describe", dict)
        described = describe()
        model = model.state_dict()
    if clash := sorted(set(described) & set(metadata)):
        raise DadnetError(f"expected metadata without the keys of describe(), got {clash}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.items()}
    content = safetensors.torch.save(tensors, {**described, **metadata})
    write_over(path, content)


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Digest of weights, independent of device, order and memory format.

    Args:
        state_dict: Names and tensors.

    Returns:
        16 hexadecimal digits: SHA-256 over the sorted names with dtype, shape and bytes.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        value = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
