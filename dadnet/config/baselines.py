"""The compared methods: one row each, the only list of their names.

The code of each is a function like a user's own (docs/own_model.md): it takes `num_classes` and
`input_size` and returns a network that maps flows to logits. Its recipe is in
`dadnet.config.presets`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ModelType = Literal[
    "dad_net", "baseline", "ststnet", "off-apexnet", "rcn-a", "dual-inception", "resnet20",
    "htnet-like", "mdmo-svm", "lbp-svm", "majority", "prior-draw",
]  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """A compared method.

    Attributes:
        title: name on the leaderboard.
        function: module of `dadnet.models.baselines` and the function in it that builds the model.
        fitted: whether scikit-learn fits it in one step.
        multiple: the input size must be a multiple of this.
    """

    title: str
    function: str
    fitted: bool = False
    multiple: int = 1


BASELINES: Mapping[ModelType, Baseline] = {
    "ststnet": Baseline("STSTNet", "ststnet:STSTNet"),
    "off-apexnet": Baseline("OFF-ApexNet", "off_apexnet:OffApexNet"),
    "rcn-a": Baseline("RCN-A", "rcn:RCNA"),
    "dual-inception": Baseline("Dual-Inception", "dual_inception:DualInception"),
    "resnet20": Baseline("ResNet-20", "resnet:ResNet20"),
    "htnet-like": Baseline("HTNet-like", "htnet:HTNetLike", multiple=8),
    "mdmo-svm": Baseline("MDMO-like + linear SVM", "fitted:mdmo_machine", fitted=True),
    "lbp-svm": Baseline("LBP of flow + linear SVM", "fitted:lbp_machine", fitted=True),
    "majority": Baseline("majority class", "fitted:Dummy", fitted=True),
    "prior-draw": Baseline("draw by class shares", "fitted:PriorDraw", fitted=True),
}
FITTED_BASELINES = tuple(name for name, method in BASELINES.items() if method.fitted)
