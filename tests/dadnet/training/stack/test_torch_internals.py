import subprocess
from pathlib import Path

import pytest
import torch

from dadnet.training.stack.torch_internals import fused_adamw_step

ROOT = Path(__file__).parents[4]


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fused_kernels_step_as_the_public_optimiser_bit_for_bit(dtype):
    start = [seeded(3, 4).to(dtype), seeded(5).to(dtype)]
    public = [w.clone().requires_grad_() for w in start]
    settings = {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3, "eps": 1e-6}
    optimiser = torch.optim.AdamW(public, fused=True, **settings)
    weights = [w.clone() for w in start]
    means, squares = ([torch.zeros_like(w) for w in start] for _ in range(2))
    steps = [torch.zeros(()) for _ in start]
    for step in range(3):
        gradients = [(step + 1) * w.sin() for w in start]
        for weight, gradient in zip(public, gradients, strict=True):
            weight.grad = gradient.clone()
        optimiser.step()
        fused_adamw_step(weights, gradients, means, squares, steps, **settings)
    for i, weight in enumerate(public):
        state = optimiser.state[weight]
        assert torch.equal(weights[i], weight)
        assert torch.equal(means[i], state["exp_avg"])
        assert torch.equal(squares[i], state["exp_avg_sq"])
        assert steps[i] == state["step"] == 3


def test_no_other_file_of_the_packages_calls_a_private_name_of_torch():
    pattern = r"torch(\.[a-z]\w*)*\._[a-z]"
    command = ["git", "grep", "-lE", pattern, "--", "dadnet", "orchestration", "results"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert found == ["dadnet/training/stack/torch_internals.py"]
