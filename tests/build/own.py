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


_BUILD = """
import torch
from torch import nn
{before}
def build(num_classes, input_size):
    return {returned}
"""
_NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        {body}
"""


def _returns(returned: str) -> str:
    return _BUILD.format(before="", returned=returned)


def _forward(body: str) -> str:
    return _BUILD.format(before=_NET.format(body=body), returned="Net()")


# Sources of a function `build` that cannot be used, and a part of the line that says why.
WRONG = [
    ("build = 3", "net.py:build: expected a function, got int 3"),
    ("other = 3", "net.py has no function build"),
    ("def build(:\n", "net.py line 1: invalid syntax"),
    ("x = 1\nimport no_package\n", "line 2: it needs a package that is not installed here: no_"),
    ("import sys\nsys.exit('away')\n", "net.py line 2: SystemExit: away"),
    ("x = 1\n1 / 0\n", "net.py line 2: ZeroDivisionError: division by zero"),
    (
        "def build(num_classes):\n    pass\n",
        "build(num_classes=3, input_size=32) in net.py: got an unexpected keyword argument 'input_",
    ),
    (_returns("nn.Linear(1)"), "net.py line 6: TypeError: Linear.__init__() missing"),
    (_returns("3"), "net.py:build: expected a torch.nn.Module, got int"),
    (_returns("nn.Flatten()"), "expected weights that can be trained, got none"),
    (
        _returns("nn.Sequential(nn.Flatten(), nn.LazyLinear(5))"),
        "expected logits of shape (3, 3), got (3, 5)",
    ),
    (_forward("return 'logits'"), "expected logits of shape (3, 3), got str"),
    (_forward("return self.nothing"), "net.py line 11: AttributeError: 'Net' object has no"),
    (_forward("return self.head(x.mean((2, 3))).log()"), "expected finite logits, got NaN"),
    (
        _forward("return self.head(x.mean((2, 3)) - x.mean((0, 2, 3)))"),
        "an output of each clip that does not depend on its batch",
    ),
    (
        _forward("return self.head(torch.randn_like(x).mean((2, 3)))"),
        "the same output for the same clips, got two",
    ),
]


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
