"""One fold in training: its data, its network and optimiser, its best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dadnet.base.seeding import generator
from dadnet.config.experiment import SLICED, ExperimentConfig, OptimConfig
from dadnet.flow.normalisation import normalise
from dadnet.folds.view import CURVES, FoldView, TrainedFold
from dadnet.inference.score import Probabilities, score
from dadnet.labels.metrics import uar as uar_of
from dadnet.labels.metrics import uf1 as uf1_of
from dadnet.labels.tasks import Numbers
from dadnet.models import DADNet, LossParts, MicroFlowNeXt, classification_loss, dad_net_loss
from dadnet.models.loss import directions_at
from dadnet.models.precision import check_precision, half_products, matrix_units
from dadnet.training.augment import augmentation_of
from dadnet.training.build import build_model
from dadnet.training.checkpoint import Best
from dadnet.training.teacher import Teacher, resident_network
from dadnet.training.teacher_maps import TeacherMaps

if TYPE_CHECKING:
    from dadnet.models.baselines import BaselineNetwork
    from dadnet.models.own import OwnNetwork


FUSED = ("cpu", "cuda")  # devices with a fused kernel of AdamW


def learning_rate(config: OptimConfig, epoch: int) -> float:
    """Linear warm-up, then a cosine to `lr_floor` times the peak (Loshchilov & Hutter 2017).

    Epochs are counted from 0.
    """
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    floor = config.lr_floor
    return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


class OneFold:
    """One fold in training."""

    def __init__(
        self,
        config: ExperimentConfig,
        view: FoldView,
        teacher: Teacher | None,
        device: torch.device,
    ) -> None:
        check_precision(config.optim.precision, device)
        self.config, self.view, self.device = config, view, device
        draws = generator("init", config.seed, view.name)
        self._model = build_model(config, view.num_classes, teacher, draws)
        if isinstance(self._model, DADNet) and teacher is not None:
            self._model.teacher = resident_network(teacher, device)
        self._model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(
            [p for p in self._model.parameters() if p.requires_grad],
            lr=config.optim.lr,
            weight_decay=config.optim.weight_decay,
            fused=device.type in FUSED or None,
        )
        # Where the newest and the best weights are, if they are in a stack.
        self._newest: Callable[[], None] | None = None
        self._chosen: Callable[[], dict[str, Tensor]] | None = None
        self.augment = augmentation_of(config.optim.augmentation)
        self.statistics = None if config.data.normalisation == "clip" else view.statistics()
        self.teacher_maps: TeacherMaps | None = None
        # Otherwise the input of the teacher differs between folds, or between steps.
        same = self.statistics is None and self.augment.only_mirrors
        model = self._model
        if same and teacher is not None and isinstance(model, DADNet) and model.aligned:
            self.teacher_maps = TeacherMaps.kept(teacher, model, view, device, config)
        self.epoch = 0
        self.step = 0
        self._best = Best()
        self.curves: dict[str, list[float]] = {name: [] for name in (*CURVES, *self.stage_curves)}

    @property
    def model(self) -> MicroFlowNeXt | DADNet | BaselineNetwork | OwnNetwork:
        """The network, with the newest weights."""
        self._fetch()
        return self._model

    @property
    def optimiser(self) -> torch.optim.AdamW:
        """The optimiser, in its newest state."""
        self._fetch()
        return self._optimiser

    @property
    def best(self) -> Best:
        """The best epoch so far, with its weights."""
        if self._chosen is not None:
            self._best.weights, self._chosen = self._chosen(), None
        return self._best

    def trained_by(self, hand_back: Callable[[], None]) -> None:
        """Note that a stack has trained the fold; it hands the weights back when one asks."""
        self._newest = hand_back

    def leave_stack(self) -> None:
        """Take over what a stack holds of the fold."""
        self._fetch()
        _ = self.best

    def _fetch(self) -> None:
        if self._newest is not None:
            hand_back, self._newest = self._newest, None
            hand_back()

    @property
    def stage_curves(self) -> list[str]:
        """Names of the curves of the aligned stages."""
        stages = self.config.loss.alignment_stages if self.config.aligned else ()
        return [f"alignment_stage_{stage}" for stage in stages]

    @property
    def finished(self) -> bool:
        """Whether the schedule has ended or patience has run out."""
        optim = self.config.optim
        waited = self.epoch - self._best.raised_at
        return self.epoch >= self.config.num_epochs or (
            0 < optim.patience <= waited and self.epoch > 0
        )

    def train_epoch(self) -> None:
        """One pass over the fit clips, in batches of nearly equal size."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        sums: dict[str, Any] = {}
        for rows in self.batches():
            for name, value in self.training_step(rows).by_curve().items():
                sums[name] = sums.get(name, 0.0) + value.double() * len(rows)
        self.end_epoch()
        fit = len(self.view.fit)
        self.append_losses({name: float(total) / fit for name, total in sums.items()})

    @property
    def rate(self) -> float:
        """Learning rate of the epoch to come."""
        return learning_rate(self.config.optim, self.epoch)

    def batches(self) -> tuple[Tensor, ...]:
        """Rows of the batches of the epoch to come, shuffled."""
        shuffle = generator("order", self.config.seed, self.view.name, self.epoch)
        order = self.view.fit[torch.randperm(len(self.view.fit), generator=shuffle)]
        return order.tensor_split(math.ceil(len(order) / self.config.optim.batch_size))

    def end_epoch(self) -> None:
        """Go on to the next epoch."""
        self.curves["learning_rate"].append(self.rate)
        self.epoch += 1

    def append_losses(self, losses: Mapping[str, float]) -> None:
        """Append the mean losses of the epoch that has ended, by the name of their curve."""
        for name in ("train_loss", "alignment", *self.stage_curves):
            self.curves[name].append(losses[name])

    def training_step(self, rows: Tensor) -> LossParts:
        """One optimiser step on these rows, a pure function of (weights, step)."""
        with matrix_units(self.config.optim.precision):
            return self._training_step(rows)

    def _training_step(self, rows: Tensor) -> LossParts:
        config, dual = self.config.loss, isinstance(self.model, DADNet)
        drawn = self.augment.draw(
            len(rows), generator("augment", self.config.seed, self.view.name, self.step)
        )
        flows = self.augment.apply(self.view.flows[rows].float(), drawn)
        flows, labels = normalise(flows, self.statistics), self.view.labels[rows]
        maps = self.teacher_maps.of(rows, drawn.flip) if self.teacher_maps is not None else None
        with half_products(self.config.optim.precision, self.device):
            cached = {"teacher_maps": maps} if dual else {}
            draws = generator("drop-path", self.config.seed, self.view.name, self.step)
            output = self.model(flows, draws, **cached)
        if dual:
            sizes = {s: f.shape[1:] for s, f in output.student_features.items()}
            loss = dad_net_loss(
                output,
                labels,
                alignment_weight=config.alignment_weight,
                label_smoothing=config.label_smoothing,
                form=config.gswd_form,
                alignment=config.alignment,
                directions=self.directions(sizes),
            )
        else:
            loss = classification_loss(output.logits, labels, config.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        return loss

    def directions(self, sizes: Mapping[int, torch.Size]) -> dict[int, Tensor]:
        """Projections of this step by stage, (L, D), for features of these sizes (C, H, W).

        They are equal for all folds at the same step. An alignment that is not sliced has none.
        """
        loss = self.config.loss
        return {
            stage: directions_at(
                self.config.seed,
                self.step,
                stage,
                loss.num_projections,
                size[0] if loss.gswd_form == "tokens" else size.numel(),
            ).to(self.device)
            for stage, size in sizes.items()
            if loss.alignment in SLICED
        }

    @property
    def directed_stages(self) -> tuple[int, ...]:
        """The aligned stages whose alignment draws directions."""
        sliced = self.config.aligned and self.config.loss.alignment in SLICED
        return self.config.loss.alignment_stages if sliced else ()

    def val_probabilities(self) -> Probabilities:
        """Probabilities of the val clips, shape (m, K)."""
        view = self.view
        if not len(view.val):
            return np.empty((0, view.num_classes))
        return score(self.model, view.flows[view.val], self.statistics, task=view.task)

    @cached_property
    def val_labels(self) -> Numbers:
        """The labels of the val clips, on the host."""
        return self.view.labels[self.view.val].cpu().numpy()

    def validate(self, probabilities: Probabilities) -> None:
        """Append the metrics of the val clips, from probabilities (m, K); NaN where m is 0."""
        uf1 = uar = log_loss = math.nan
        if len(probabilities):
            labels, task = self.val_labels, self.view.task
            counts = task.counts(labels, task.decide(probabilities), self.view.num_classes)
            uf1, uar = uf1_of(counts), uar_of(counts)
            log_loss = task.log_loss(probabilities, labels)
        for name, value in (("val_uf1", uf1), ("val_uar", uar), ("val_log_loss", log_loss)):
            self.curves[name].append(float(value))

    def select(self, chosen: Callable[[], dict[str, Tensor]] | None = None) -> bool:
        """Keep the weights of this epoch if it is the best so far, and return whether it is.

        A stack keeps them itself, and `chosen` returns them later.
        """
        uf1, uar, log_loss = (self.curves[n][-1] for n in ("val_uf1", "val_uar", "val_log_loss"))
        key = (uf1, uar, -log_loss)
        if not len(self.view.val):
            # Selection `last` takes the weights of the last epoch, which the network has.
            self._best = Best(epoch=self.epoch)
            return False
        if not key > self._best.key:
            return False
        raised_at = self.epoch if key[:2] > self._best.key[:2] else self._best.raised_at
        self._best, self._chosen = Best(key, self.epoch, raised_at), chosen
        if chosen is None:
            self._best.weights = {k: v.detach().clone() for k, v in self._trained_state().items()}
        return True

    def _trained_state(self) -> dict[str, Tensor]:
        """The weights without those of the frozen teacher, which has a file of its own."""
        state = self.model.state_dict()
        return {k: v for k, v in state.items() if not k.startswith("teacher.")}

    def last_metrics(self) -> dict[str, float]:
        """The newest value of every curve."""
        return {name: values[-1] for name, values in self.curves.items()}

    def state(self) -> dict[str, Any]:
        """Everything that the fold needs to continue."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "model": self._trained_state(),
            "optimiser": self.optimiser.state_dict(),
            "best": vars(self.best),
            "curves": self.curves,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.load_weights(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step = state["epoch"], state["step"]
        self._best, self._chosen = Best(**state["best"]), None
        self.curves = {name: list(state["curves"][name]) for name in self.curves}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Fill the network; the weights of a teacher may be absent, since they are frozen."""
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        lost = [name for name in missing if not name.startswith("teacher.")]
        assert not lost, lost
        assert not unexpected, unexpected

    def outcome(self) -> TrainedFold:
        """The network with the chosen weights."""
        if self.best.weights:
            self.load_weights(self.best.weights)
        return TrainedFold(
            self.view.name,
            self.model.eval(),
            self.statistics,
            self.best.epoch,
            self.epoch,
            {name: tuple(values) for name, values in self.curves.items()},
        )
