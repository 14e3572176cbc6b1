"""DAD-Net for micro-expressions: model, data and training, without any orchestration.

Importing this package is cheap; the public names are imported on first use.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dadnet.base.errors import DadnetError as DadnetError
    from dadnet.config.experiment import DataConfig as DataConfig
    from dadnet.config.experiment import ExperimentConfig as ExperimentConfig
    from dadnet.flow.normalisation import normalise as normalise
    from dadnet.flow.store import load_flow_store as load_flow_store
    from dadnet.folds.dataset import MicroExpressionDataset as MicroExpressionDataset
    from dadnet.folds.protocols import Fold as Fold
    from dadnet.folds.protocols import make_folds as make_folds
    from dadnet.inference.predictor import load_model as load_model
    from dadnet.labels.metrics import confusion as confusion
    from dadnet.labels.metrics import uar as uar
    from dadnet.labels.metrics import uf1 as uf1
    from dadnet.models import DADNet as DADNet
    from dadnet.models import MicroFlowNeXt as MicroFlowNeXt
    from dadnet.models import dad_net_loss as dad_net_loss
    from dadnet.models import get_dad_net as get_dad_net
    from dadnet.models import get_microflownext as get_microflownext
    from dadnet.models import gswd as gswd
    from dadnet.training.augment import OpticalFlowAugmentation as OpticalFlowAugmentation

# `python -m`, which has no other name yet, or the console script: a command of ours begins here,
# and its imports take seconds. Ctrl-C within them gives one line and a status too.
if sys.argv[:1] == ["-m"] or (sys.argv[:1] and sys.argv[0].endswith(("/dadnet", "/run_loso.py"))):
    from dadnet.base.boundary import guard_process, put_packages_first

    guard_process()
    put_packages_first()

__version__ = "0.2.0"

_MODULES = {
    "DADNet": "dadnet.models",
    "DadnetError": "dadnet.base.errors",
    "DataConfig": "dadnet.config.experiment",
    "ExperimentConfig": "dadnet.config.experiment",
    "Fold": "dadnet.folds.protocols",
    "MicroExpressionDataset": "dadnet.folds.dataset",
    "MicroFlowNeXt": "dadnet.models",
    "OpticalFlowAugmentation": "dadnet.training.augment",
    "confusion": "dadnet.labels.metrics",
    "dad_net_loss": "dadnet.models",
    "get_dad_net": "dadnet.models",
    "get_microflownext": "dadnet.models",
    "gswd": "dadnet.models",
    "load_flow_store": "dadnet.flow.store",
    "load_model": "dadnet.inference.predictor",
    "make_folds": "dadnet.folds.protocols",
    "normalise": "dadnet.flow.normalisation",
    "uar": "dadnet.labels.metrics",
    "uf1": "dadnet.labels.metrics",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(
            f"module 'dadnet' has no attribute {name!r}; it has {sorted(_MODULES)}"
        )
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
