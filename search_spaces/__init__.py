"""Search spaces: what a study may vary, and how. They import neither Ray nor Optuna."""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces import alignment, full, objectives, optim, recipe, smoke
from search_spaces.space import Space

SPACES: Mapping[str, Space] = MappingProxyType(
    {
        space.name: space
        for space in (
            alignment.SPACE, *recipe.SPACES, optim.SPACE, full.SPACE, smoke.SPACE, objectives.SPACE,
        )
    }
)  # fmt: skip
