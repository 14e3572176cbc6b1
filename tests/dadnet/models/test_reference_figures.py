import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dadnet.models import MicroFlowNeXt, count_parameters, get_microflownext

ORACLES = Path(__file__).parents[2] / "data" / "oracles"
REFERENCE = json.loads((ORACLES / "reference.json").read_text())
CASES = sorted(set(REFERENCE) - {"gswd"})
HEADS = ("tokens", "pooled", "linear")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def reference_weights(case: str) -> dict[str, Tensor]:
    """The weights of an oracle, as tests/data/oracles and its README define them."""
    spec, weights = REFERENCE[case], {}
    for index, (name, shape) in enumerate(sorted(spec["keys"].items())):  # every key counts
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros((), dtype=torch.int64)
            continue
        if "sobel" in name:
            continue  # a constant of ours
        r = np.random.RandomState(spec["seed"] + index).standard_normal(shape)
        if name.endswith("running_var"):
            value = 0.5 + np.abs(r)
        elif len(shape) == 1:
            value = 0.1 * r + (1 if name.endswith("weight") else 0)
        else:
            value = r / np.sqrt(np.prod(shape[1:]))
        if name == "fc_loc.2.weight":
            value = 0.02 * r / np.sqrt(32)
        elif name == "fc_loc.2.bias":
            value = np.array([1.05, 0.08, 0.02, -0.06, 0.95, -0.03]) + 0.01 * r
        weights[name] = torch.from_numpy(value)
    return weights


def reference_model(case: str, dtype: torch.dtype) -> tuple[MicroFlowNeXt, Tensor]:
    spec = REFERENCE[case]
    size = spec["input_size"]
    model = get_microflownext(spec["num_classes"], spec["size"], size, spec["flow"], "pooled")
    model.to(dtype).eval().load_state_dict(reference_weights(case))
    draws = np.random.RandomState(spec["seed"] + 5000).standard_normal((3, 2, size, size))
    return model, torch.from_numpy(draws).to(dtype)


def measured(model: MicroFlowNeXt, x: Tensor) -> dict[str, Tensor]:
    output = model(x)
    step = max(1, x.shape[-1] // 8)
    assert output.theta is not None
    figures = {
        "theta": output.theta,
        "stn": model.align_flow(x)[0][:, :, ::step, ::step],
        "pooled": output.pooled[:, :16],
        "logits_single": output.logits,
    }
    for stage, feature in enumerate(output.features):
        figures[f"stage{stage}_mean"] = feature.mean((2, 3))[:, :16]
        figures[f"stage{stage}_std"] = feature.flatten(2).std(2, correction=0)[:, :16]
    return figures


class TestOracles:
    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize("case", CASES)
    def test_every_figure_of_the_reference_is_met(
        self, case: str, dtype: torch.dtype, channels_last: bool
    ) -> None:
        model, x = reference_model(case, dtype)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
            x = x.to(memory_format=torch.channels_last)
        with torch.no_grad():
            ours = measured(model, x)
        figures = np.load(ORACLES / "reference.npz")
        names = [name for name in figures.files if name.startswith(f"{case}/")]
        assert len(names) == 12
        for name in names:
            theirs = figures[name]
            deviation = np.abs(ours[name.split("/")[1]].double().numpy() - theirs).max()
            assert deviation <= TOLERANCE[dtype] * np.abs(theirs).max(), name

    @pytest.mark.parametrize("case", CASES)
    def test_names_shapes_and_count_are_the_references(self, case: str) -> None:
        spec = REFERENCE[case]
        model = get_microflownext(spec["num_classes"], spec["size"], spec["input_size"])
        theirs = {name: tuple(s) for name, s in spec["keys"].items() if "sobel" not in name}
        assert {name: tuple(v.shape) for name, v in model.state_dict().items()} == theirs
        assert count_parameters(model) == spec["params"]
