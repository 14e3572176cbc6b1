"""Sources of a user's own, and the flags of short runs with them."""

from pathlib import Path

NET = """
import torch
from torch import nn

def small_net(num_classes, input_size, width=4, dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(2, width, 5, stride=4), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Dropout(dropout), nn.LazyLinear(num_classes),
    )
"""
# A student with maps for the teacher, at the sides of stages 2 and 3.
STAGED = """
from typing import NamedTuple
from torch import Tensor, nn

class Staged(NamedTuple):
    logits: Tensor
    stage2: Tensor
    stage3: Tensor

class Net(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.first = nn.Conv2d(2, width, 16, stride=16)
        self.second = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        stage2 = self.first(x).relu()
        stage3 = self.second(stage2).relu()
        return Staged(self.head(stage3.mean((2, 3))), stage2, stage3)

def staged(num_classes, input_size, width=6):
    return Net(num_classes, width)
"""


def write_source(folder: Path, text: str = NET, name: str = "net.py") -> Path:
    """Write a source; returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def own_words(site: Path, ledger: Path, word: str, *more: str) -> list[str]:
    """Flags of a short run of a network of one's own."""
    return [
        "--flows", str(site / "flows"), "--ledger", str(ledger), "--input-size", "32",
        "--epochs", "4", "--warmup-epochs", "0", "--workers", "0", "--checkpoint-every", "1",
        "--model", word, *more,
    ]  # fmt: skip
