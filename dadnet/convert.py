"""Convert a checkpoint of DAD-Net: `python -m dadnet.convert FILE.pth OUT.safetensors`.

Reads both public layouts of the weights, with one stream or two, and prints which weights were used
and why the others were not. The unpickler accepts only tensors and plain containers, so a malicious
pickle does not run. Exit status: 0 done, 2 bad input.
"""

import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dadnet.base import cli
from dadnet.config.commands import CONVERT, ConvertFlags

if __name__ == "__main__":
    CONVERT.parse_first(__doc__)

import numpy as np
import torch
from torch import Tensor

from dadnet.base.digests import file_digest
from dadnet.base.disk import LARGEST_WEIGHTS, check_regular
from dadnet.base.errors import DadnetError, listed
from dadnet.inference.imported_weights import describe_weights
from dadnet.inference.model_file import ALL_SUBJECTS, ModelCard, TrainedModel, build_network
from dadnet.models import LoadReport, load_reference_state

# Keys under which training scripts save the state dict.
_WRAPPERS = ("model_state_dict", "state_dict", "model", "student", "net")
_REQUESTED = re.compile(r"GLOBAL ([\w.]+)")
# numpy numbers may be saved beside the weights; building one runs no code.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # numpy 1
    (_SCALAR, "numpy._core.multiarray.scalar"),
]


def convert(flags: ConvertFlags) -> int:
    """Convert and print the report; returns exit status 0.

    Raises:
        DadnetError: if the checkpoint cannot be used; nothing is written then.
    """
    if flags.out.suffix != ".safetensors":
        raise DadnetError(f"out: expected a name that ends in .safetensors, got {flags.out}")
    if flags.out.exists():
        raise DadnetError(f"out: {flags.out} exists already; choose another name")
    weights, beside = read_checkpoint(flags.file)
    imported = describe_weights(
        weights,
        branch=flags.branch,
        input_size=flags.input_size,
        flow_correction=flags.flow_correction,
        stn=flags.stn,
    )
    if len(flags.classes) != imported.num_classes:
        raise DadnetError(
            f"classes: expected {imported.num_classes} names, since its head has as many outputs; "
            f"got {len(flags.classes)}: {listed(flags.classes)}"
        )
    network = build_network(imported.model, imported.num_classes, torch.Generator())
    try:
        report = load_reference_state(network, weights, branch=flags.branch)
    except DadnetError as error:  # this command has no such option: it needs all weights
        raise DadnetError(f"convert: {str(error).split('; allow_missing')[0]}") from error
    state = network.state_dict()
    for name, value in state.items():
        if not value.isfinite().all():
            raise DadnetError(f"convert: {name} holds values that are not finite")
    card = ModelCard(
        kind="converted",
        model=imported.model,
        classes=flags.classes,
        subjects=(f"{flags.dataset}/{ALL_SUBJECTS}",) if flags.dataset else (),
        made_from=file_digest(flags.file),
        origin={"file": flags.file.name, "layout": imported.layout, "dataset": flags.dataset},
    )
    TrainedModel(state, card).save(flags.out)
    print(_report(flags, imported.layout, card, report, beside))
    return cli.DONE


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a checkpoint, read without running code in it.

    Returns:
        Tensors by name, and the names of the other entries.

    Raises:
        DadnetError: if it cannot be read, or has other objects than tensors and plain values, or
            no weights.
    """
    if not path.is_file():
        raise DadnetError(f"convert: there is no file {path}")
    try:
        check_regular(path, LARGEST_WEIGHTS)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMBERS):
            warnings.simplefilter("ignore")  # about pickle's protocol; our error explains more
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DadnetError(_refusal(path, str(error))) from error
    except DadnetError:
        raise
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
            AssertionError, zipfile.BadZipFile) as error:  # fmt: skip
        raise DadnetError(
            f"convert: {path} is no checkpoint of torch, or a damaged one ({type(error).__name__})"
        ) from error
    return _state_of(content, path)


def _refusal(path: Path, message: str) -> str:
    requested = _REQUESTED.search(message)
    wanted = f"asks for {requested[1]}" if requested else "holds more than tensors and plain values"
    return (
        f"convert: {path} {wanted}; it was refused, and nothing in it was run (expected a state "
        "dict: tensors by name)"
    )


def _state_of(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    beside: tuple[str, ...] = ()
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                beside = tuple(str(key) for key in content if key != wrapper)
                content = content[wrapper]
                break
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        kind = type(content).__name__
        inside = ", ".join(map(str, content)) if isinstance(content, Mapping) else kind
        raise DadnetError(
            f"convert: expected a state dict in {path}, bare or as one of "
            f"{', '.join(_WRAPPERS)}; got {inside or 'nothing'}"
        )
    weights = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    return weights, (*beside, *(str(k) for k in content if str(k) not in weights))


def _report(
    flags: ConvertFlags, layout: str, card: ModelCard, report: LoadReport, beside: Sequence[str]
) -> str:
    model = card.model
    lines = [
        f"{flags.out}: {model.micro_size}, input {model.input_size}, head {model.head}, "
        f"flow correction {model.flow_correction}, "
        f"{'with' if model.stn else 'without'} spatial transformer, "
        f"{'with' if model.channel_attention else 'without'} channel attention",
        f"read as the {layout}; classes {', '.join(card.classes)}",
        str(report),
    ]
    lines += [f"  beside the weights, not taken: {name}" for name in beside]
    if not flags.dataset:
        lines.append("without --dataset it can predict, but cannot be a teacher")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return CONVERT.run(convert, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
