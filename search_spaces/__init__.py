"""Search spaces: what a study may vary, and how. Knows neither Ray nor Optuna's storage."""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces import alignment, casme2, casme3, dfme, fourdme, full, objectives, optim, smoke
from search_spaces.space import Space

SPACES: Mapping[str, Space] = MappingProxyType(
    {
        module.SPACE.name: module.SPACE
        for module in (
            alignment,
            dfme,
            fourdme,
            casme3,
            casme2,
            optim,
            full,
            smoke,
            objectives,
        )
    }
)
