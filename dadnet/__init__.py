"""DAD-Net for micro-expressions: model, data and training, without any orchestration.

Importing this package is cheap; the public names are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadnet.folds.dataset import MicroExpressionDataset as MicroExpressionDataset
    from dadnet.inference.predictor import load_model as load_model
    from dadnet.models import get_dad_net as get_dad_net
    from dadnet.models import get_microflownext as get_microflownext
    from dadnet.models import gswd as gswd
    from dadnet.training.augment import OpticalFlowAugmentation as OpticalFlowAugmentation

__version__ = "0.1.0"

_MODULES = {
    "MicroExpressionDataset": "dadnet.folds.dataset",
    "OpticalFlowAugmentation": "dadnet.training.augment",
    "get_dad_net": "dadnet.models",
    "get_microflownext": "dadnet.models",
    "gswd": "dadnet.models",
    "load_model": "dadnet.inference.predictor",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(
            f"module 'dadnet' has no attribute {name!r}; it has {sorted(_MODULES)}"
        )
    return getattr(import_module(_MODULES[name]), name)
