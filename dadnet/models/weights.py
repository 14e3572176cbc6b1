"""Weight files and the digest of weights.

Nothing here can run code from a file: only safetensors are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dadnet.base.digests import parts_digest
from dadnet.base.disk import LARGEST_WEIGHTS, check_regular
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location, location, replace_file, stored


class LoadedWeights(NamedTuple):
    """A weight file: its tensors and its metadata."""

    weights: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(path: str | Location) -> LoadedWeights:
    """Read the tensors of a safetensors file, on the CPU, and its metadata, which may be empty.

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
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return LoadedWeights(weights, metadata)
    except FileNotFoundError:
        raise DadnetError(f"expected a weight file at {path}, got none") from None
    except (SafetensorError, OSError) as error:
        raise DadnetError(f"expected a whole safetensors file at {path}: {error}") from error


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
    replace_file(path, safetensors.torch.save(tensors, {**described, **metadata}))


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Digest of weights, independent of device, order and memory format.

    16 hexadecimal digits: SHA-256 over the sorted names with dtype, shape and bytes.
    """
    return parts_digest(part for name in sorted(state_dict) for part in _parts(name, state_dict))


def _parts(name: str, state_dict: Mapping[str, Tensor]) -> tuple[bytes, bytes]:
    value = state_dict[name].detach().cpu().contiguous()
    head = f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode()
    return head, value.reshape(-1).view(torch.uint8).numpy().tobytes()
