"""One fold the ordinary way, as a careful user would write it with the public API.

A DataLoader, augmentation clip by clip, the plain memory layout, one eager step, the global random
generator. It is what the engine of `dadnet.training.loop` is measured against.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.plain import make_plain
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig
from dadnet.flow.normalisation import normalise
from dadnet.models import DADNet, classification_loss, dad_net_loss
from dadnet.training.augment import POLICIES
from dadnet.training.build import build_model
from dadnet.training.teacher import Teacher


class AugmentedClips(Dataset[tuple[Tensor, int]]):
    """Clips that are augmented and normalised one at a time when they are read."""

    def __init__(self, flows: Tensor, labels: Tensor, policy: str) -> None:
        self.flows, self.labels = flows, labels
        self.augment = POLICIES[policy]
        self.draws = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.flows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        flow = self.augment(self.flows[index : index + 1].float(), self.draws)
        return normalise(flow)[0], int(self.labels[index])


class OrdinaryFold:
    """Model, optimiser and loader of one fold."""

    fused: bool | None = None  # torch's default

    def __init__(
        self,
        config: ExperimentConfig,
        flows: Tensor,
        labels: Tensor,
        teacher: Teacher | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.device = config, device
        self.flows, self.labels = flows, labels
        self.model = build_model(config, int(labels.max()) + 1, teacher, generator("bench"))
        make_plain(self.model).to(device)
        self.optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=config.optim.lr,
            weight_decay=config.optim.weight_decay,
            fused=self.fused,
        )
        self.loader = DataLoader(
            AugmentedClips(flows, labels, config.optim.augmentation),
            batch_size=config.optim.batch_size,
            shuffle=True,
            pin_memory=torch.device(device).type == "cuda",
        )
        self.draws = torch.Generator().manual_seed(1)

    def epoch(self) -> None:
        """One pass over the clips."""
        self.model.train()
        for flow, labels in self.loader:
            self.step(flow, labels)

    def step(self, flow: Tensor, labels: Tensor) -> None:
        """One optimiser step; the clips come from the loader, on the CPU."""
        flow, labels = (x.to(self.device, non_blocking=True) for x in (flow, labels))
        loss_config = self.config.loss
        output = self.model(flow, self.draws)
        if isinstance(self.model, DADNet):
            loss = dad_net_loss(
                output,
                labels,
                alignment_weight=loss_config.alignment_weight,
                num_projections=loss_config.num_projections,
                label_smoothing=loss_config.label_smoothing,
                generator=self.draws,
            )
        else:
            loss = classification_loss(output.logits, labels, loss_config.label_smoothing)
        self.optimiser.zero_grad()
        loss.total.backward()
        self.optimiser.step()

    def predict(self, flows: Tensor) -> Tensor:
        """Class of every clip, shape (N,), on the CPU."""
        self.model.eval()
        with torch.no_grad():
            parts = (part.to(self.device).float() for part in flows.split(32))
            logits = [self.model(normalise(part)).logits for part in parts]
        return torch.cat(logits).argmax(1).cpu()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches without end."""
        while True:
            yield from self.loader


class StrongFold(OrdinaryFold):
    """The plain loop at its best: clips on the device, batched augmentation, fused AdamW."""

    fused = True

    @cached_property
    def clips(self) -> tuple[Tensor, Tensor]:
        """Flows and labels on the device."""
        return self.flows.to(self.device).float(), self.labels.to(self.device)

    def epoch(self) -> None:
        """One pass over the clips."""
        self.model.train()
        for flow, labels in self.one_pass():
            self.step(flow, labels)

    def one_pass(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, each augmented and normalised at once."""
        augment, (flows, labels) = POLICIES[self.config.optim.augmentation], self.clips
        order = torch.randperm(len(flows), generator=self.draws).to(self.device)
        for rows in order.split(self.config.optim.batch_size):
            yield normalise(augment(flows[rows], self.draws)), labels[rows]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches without end."""
        while True:
            yield from self.one_pass()
