"""A hierarchical transformer after HTNet: attention inside the areas of the face, then wider.

Reference: Wang et al., HTNet for Micro-Expression Recognition, Neurocomputing, 2024; the scheme of
levels is that of Zhang et al., Nested Hierarchical Transformer, 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadnet.models.baselines.network import BaselineNetwork, Masks, with_strain

_PATCHES = 8  # along a side
_WIDTHS, _HEADS, _DEPTH = (64, 128, 256), (2, 4, 8), 2


class HTNetLike(BaselineNetwork):
    """8 x 8 patches, three levels: attention in 16 areas, in 4, over the face.

    Like HTNet, not HTNet: its areas are cut around five landmarks, which a flow store does not
    hold; here they are the parts of a grid. Its levels have 256 to 1,024 channels, more than a
    hundred million weights; these have 64 to 256.
    """

    smallest, multiple = 32, 8

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        patch = input_size // _PATCHES
        self.embedding = nn.Conv2d(3, _WIDTHS[0], patch, stride=patch)
        self.levels = nn.ModuleList(
            nn.Sequential(*(AreaBlock(width, heads, 4 >> i) for _ in range(_DEPTH)))
            for i, (width, heads) in enumerate(zip(_WIDTHS, _HEADS, strict=True))
        )
        self.merges = nn.ModuleList(Merge(width, 2 * width) for width in _WIDTHS[:-1])
        self.norm = nn.LayerNorm(_WIDTHS[-1])
        self.head = nn.Linear(_WIDTHS[-1], num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        maps = self.embedding(with_strain(x)).permute(0, 2, 3, 1)  # (B, 8, 8, C)
        for level, merge in zip(self.levels, [*self.merges, nn.Identity()], strict=True):
            maps = merge(level(maps))
        features = self.norm(maps).mean((1, 2))
        return self.head(features), features


class AreaBlock(nn.Module):
    """Attention and a two-layer perceptron inside each of areas x areas squares of a map."""

    def __init__(self, width: int, heads: int, areas: int) -> None:
        super().__init__()
        self.heads, self.areas = heads, areas
        self.place = nn.Parameter(nn.init.trunc_normal_(torch.empty(4, width), std=0.02))
        self.norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape; an area has 2 x 2 positions."""
        clips, height, width, channels = maps.shape
        side = height // self.areas
        cut = maps.reshape(clips, self.areas, side, self.areas, side, channels).transpose(2, 3)
        tokens = cut.reshape(clips, self.areas**2, side**2, channels) + self.place  # (B, A, N, C)
        tokens = tokens + self.out(self._attend(self.norm(tokens)))
        tokens = tokens + self.perceptron(self.hidden_norm(tokens))
        back = tokens.reshape(clips, self.areas, self.areas, side, side, channels).transpose(2, 3)
        mixed: Tensor = back.reshape(clips, height, width, channels)
        return mixed

    def _attend(self, tokens: Tensor) -> Tensor:
        parts = self.projections(tokens).chunk(3, dim=-1)
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(2, 3) for p in parts)
        scores = query @ key.transpose(3, 4) * query.shape[-1] ** -0.5  # (B, A, heads, N, N)
        mixed: Tensor = (scores.softmax(-1) @ value).transpose(2, 3).flatten(3)
        return mixed


class Merge(nn.Module):
    """The next level: a 3x3 convolution, LayerNorm, the largest of 3x3 with stride 2."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, wider, 3, padding=1)
        self.norm = nn.LayerNorm(wider)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, C) to (B, H / 2, W / 2, C')."""
        wider = self.convolution(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        pooled = F.max_pool2d(self.norm(wider).permute(0, 3, 1, 2), 3, stride=2, padding=1)
        return pooled.permute(0, 2, 3, 1)
