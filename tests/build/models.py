"""Small networks, their files, and what trains them."""

import dataclasses

import torch
from torch import Tensor

from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig, LossConfig, ModelConfig, OptimConfig
from dadnet.folds.protocols import make_folds
from dadnet.folds.view import FoldView
from dadnet.inference.model_file import ModelCard, TrainedModel, build_network
from dadnet.models import DADNet, MicroFlowNeXt, get_dad_net, get_microflownext
from dadnet.training.build import build_model
from dadnet.training.teacher import Teacher

CENTRAL = torch.tensor([-1.0, 0.0, 1.0])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def backbone(seed: int, size: str = "ultralight", classes: int = 3) -> MicroFlowNeXt:
    return get_microflownext(classes, size, 32, generator=seeded(seed))


def two_streams(seed: int) -> DADNet:
    return get_dad_net(
        3,
        "ultralight",
        "nano",
        (1, 3),
        input_size=32,
        allow_random_teacher=True,
        generator=seeded(seed),
    )


def foreign(model: torch.nn.Module, layout: int) -> dict[str, Tensor]:
    """The model's weights under the names of a public layout, constants included."""
    renamed = {}
    for ours, value in model.state_dict().items():
        name = ours.replace("student.", "micro_branch.").replace("teacher.", "macro_branch.")
        if layout == 1:
            name = name.replace(".conv.weight", ".adapter_conv.weight")
        else:
            name = name.replace(".1.fc.", ".1.mlp.").replace("micro_enhance", "enhance")
        renamed[name] = value.clone()
        if name.endswith("dwconv.weight"):
            block = name.removesuffix("dwconv.weight")
            kind = "sobel" if layout == 1 else "central"
            renamed[f"{block}{kind}_x"] = CENTRAL.view(1, 1, 1, 3)
            renamed[f"{block}{kind}_y"] = CENTRAL.view(1, 1, 3, 1)
    return renamed


NAMES = ("negative", "positive", "surprise")


def make_model(seed: int = 0, classes=NAMES, card=None, **model) -> TrainedModel:
    """A network with random weights, its spatial transformer away from the identity."""
    config = ModelConfig(
        **{"model_type": "baseline", "micro_size": "ultralight", "input_size": 32, **model}
    )
    draws = torch.Generator().manual_seed(seed)
    network = build_network(config, len(classes), draws)
    if config.stn:
        network.fc_loc[2].weight.data.normal_(0, 0.05, generator=draws)
        network.fc_loc[2].bias.data.copy_(torch.tensor([1.05, 0.08, 0.02, -0.06, 0.95, -0.03]))
    network.head.weight.data.normal_(0, 0.5, generator=draws)
    made = card or ModelCard(kind="converted", model=config, classes=classes)
    return TrainedModel(network.state_dict(), made)


CPU = torch.device("cpu")


def config(**parts) -> ExperimentConfig:
    made = ExperimentConfig(
        model=ModelConfig(micro_size="ultralight", macro_size="ultralight", input_size=32),
        loss=LossConfig(num_projections=8),
        optim=OptimConfig(
            epochs=6, batch_size=8, lr=2e-3, warmup_epochs=1, augmentation="reference-v1"
        ),
    )
    return dataclasses.replace(made, **parts)


def make_teacher() -> Teacher:
    model = ModelConfig(model_type="baseline", micro_size="ultralight", input_size=32)
    network = build_model(ExperimentConfig(model=model), 3, None, generator("t"))
    classes = ("negative", "positive", "surprise")
    return Teacher(network.state_dict(), model, classes, ("m/s1",), "d" * 16, "m" * 16, {})


def views(dataset, made, names=None):
    folds = make_folds(dataset.clips, made.data, made.seed)
    chosen = [f for f in folds if names is None or f.name in names]
    return [FoldView.of(dataset, fold, CPU) for fold in chosen]
