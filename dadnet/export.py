"""Export a trained model: `python -m dadnet.export --weights W --format onnx --out model.onnx`.

The exported program takes flows in PIXELS, float32 (B, 2, S, S) with any B, and returns `logits`
and `probabilities`, each (B, K); it contains the normalisation. The card is in the file (ONNX: the
metadata `dadnet_card` and `classes`; torch: the extra file `card.json`). Every export is run and
compared with the network before the file appears. Exit status: 0 done, 2 bad input.
"""

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from dadnet.base import cli
from dadnet.config.commands import EXPORT, ExportFlags

if __name__ == "__main__":
    EXPORT.parse_first(__doc__)

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dadnet.base.disk import replacing
from dadnet.base.errors import DadnetError
from dadnet.config.baselines import BASELINES
from dadnet.flow.normalisation import normalise
from dadnet.inference.model_file import CARD, TrainedModel, load_model_file
from dadnet.labels.targets import to_probabilities
from dadnet.labels.tasks import task_of

TOLERANCE = 1e-4  # of the logits; of the largest one where that exceeds 1
INPUT, OUTPUTS = "flow", ("logits", "probabilities")
_CHECKED_BATCHES = (1, 2, 5)

Logits = npt.NDArray[np.float32]
Program = Callable[[Logits], Logits]  # flows (B, 2, S, S) to logits (B, K)


class Deployed(nn.Module):
    """A trained network with its normalisation."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.network = model.network()
        self.fitted = model.card.statistics is not None
        self.task = task_of(model.card.multi_label)
        mean, std = model.statistics() or (torch.zeros(2), torch.ones(2))
        self.register_buffer("fit_mean", mean)
        self.register_buffer("fit_std", std)

    def forward(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Flows in pixels (B, 2, S, S) to logits and probabilities, each (B, K)."""
        statistics = None
        if self.fitted:
            statistics = self.get_buffer("fit_mean"), self.get_buffer("fit_std")
        logits: Tensor = self.network(normalise(flow, statistics)).logits
        return logits, to_probabilities(logits, self.task)


def export(flags: ExportFlags) -> int:
    """Export, check and write; returns exit status 0.

    Raises:
        DadnetError: if the weights cannot be used, a package is missing, or the exported program
            differs from the network; nothing is written then.
    """
    model = load_model_file(flags.weights, run_source=flags.run_source)
    if (kind := model.card.model.model_type) in BASELINES:
        raise DadnetError(
            f"weights: {flags.weights} holds a {kind}; expected a MicroFlowNeXt: other methods "
            "are for comparison and are not exported"
        )
    if flags.out.exists():
        raise DadnetError(f"out: {flags.out} exists already; choose another name")
    with replacing(flags.out, flags.out.suffix) as temporary:
        try:
            program = _WRITERS[flags.format](model, temporary)
        except DadnetError:
            raise
        except Exception as error:
            if (own := model.card.model.model) is None:
                raise
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DadnetError(f"export: {own} cannot be exported as it is: {text}") from error
        worst = check_program(program, model)
    print(
        f"{flags.out}: {flags.format}, flows in pixels (B, 2, {model.card.model.input_size}, "
        f"{model.card.model.input_size}), classes {', '.join(model.card.classes)}; logits differ "
        f"from torch by at most {worst:.1e}"
    )
    return cli.DONE


def check_program(program: Program, model: TrainedModel) -> float:
    """Compare an exported program with the network, at several batch sizes.

    Returns:
        The largest difference of a logit, as a share of the largest logit where that exceeds 1.

    Raises:
        DadnetError: if it exceeds `TOLERANCE`.
    """
    size, deployed = model.card.model.input_size, Deployed(model).eval()
    draws = np.random.default_rng(0)
    differences = []
    for number in _CHECKED_BATCHES:
        flow = draws.normal(scale=0.5, size=(number, 2, size, size)).astype(np.float32)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(flow))[0].numpy()
        difference = np.abs(program(flow) - expected).max() / max(1.0, np.abs(expected).max())
        differences.append(float(difference))
    worst = float(np.max(differences))  # unlike max(), it keeps a NaN
    if not worst <= TOLERANCE:
        raise DadnetError(
            f"export: the exported logits differ from torch by {worst:.1e}, more than "
            f"{TOLERANCE:.0e}; nothing was written"
        )
    return worst


def write_onnx(model: TrainedModel, path: Path) -> Program:
    """Write one ONNX file, weights inside, and open it with onnxruntime."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise DadnetError(
                f"export: format onnx needs the package {package}; pip install dadnet-loso[export]"
            )
    import onnxruntime

    with _quiet():
        program = torch.onnx.export(
            Deployed(model).eval(),
            (_example(model),),
            dynamo=True,
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
            # The optimiser treats the 1e-8 under the root of the gradient magnitude as 0 and drops
            # it; onnxruntime optimises anyway.
            optimize=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with local paths
    program.model.metadata_props[CARD] = model.card.to_json()
    program.model.metadata_props["classes"] = json.dumps(model.card.classes, ensure_ascii=False)
    program.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda flow: np.asarray(session.run([OUTPUTS[0]], {INPUT: flow})[0])


def write_torch_export(model: TrainedModel, path: Path) -> Program:
    """Write torch's exported program and read it back."""
    with _quiet():
        program = torch.export.export(
            Deployed(model).eval(),
            (_example(model),),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
        torch.export.save(program, path, extra_files={"card.json": model.card.to_json()})
        loaded = torch.export.load(path).module()
    return lambda flow: np.asarray(loaded(torch.from_numpy(flow))[0].detach().numpy())


_WRITERS = {"onnx": write_onnx, "torch-export": write_torch_export}


def _example(model: TrainedModel) -> Tensor:
    size = model.card.model.input_size
    return torch.randn(2, 2, size, size, generator=torch.Generator().manual_seed(0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about optional packages."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return EXPORT.run(export, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
