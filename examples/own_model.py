"""A network of your own in twenty lines; see docs/own_model.md.

python -m orchestration.run_loso --model examples/own_model.py:small_net --model-args width=16
"""

from torch import nn


def small_net(num_classes: int, input_size: int, width: int = 8, dropout: float = 0.0) -> nn.Module:
    """Flows (B, 2, S, S), z-scored, to logits (B, num_classes)."""
    return nn.Sequential(
        *(nn.Conv2d(2, width, kernel_size=5, stride=2, padding=2), nn.BatchNorm2d(width)),
        *(nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, 2 * width, kernel_size=3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout)),
        nn.Linear(4 * 2 * width, num_classes),
    )
