"""Baselines that scikit-learn fits in one step: linear machines on features, and dummies.

The fitted values are stored as weights of a network, so that scoring, kept weights and predictions
work as for all other models. No gradients are used.

Axes: B clips, S input size, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.dummy import DummyClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from dadnet.base.seeding import seed_hash
from dadnet.labels.targets import multi_label
from dadnet.models.baselines.handcrafted import LBP_SIZE, MDMO_SIZE, lbp_features, mdmo_features
from dadnet.models.baselines.network import BaselineNetwork, Masks

_BATCH = 64  # clips whose features are made at once
_CERTAIN = 20.0  # logit of the drawn class; the other logits are 0


class FittedBaseline(BaselineNetwork):
    """A baseline that is fitted to all clips at once."""

    def fit(self, flows: Tensor, labels: Tensor, seed: int) -> None:
        """Fit to clips.

        Args:
            flows: Normalised flows, shape (B, 2, S, S).
            labels: Class indices, shape (B,), every class among them; of several labels 0 and 1
                of each, shape (B, K), both of them in every column.
            seed: Of random draws in the fit.
        """
        raise NotImplementedError


class LinearMachine(FittedBaseline):
    """A linear support vector machine, one against the rest, on standardised features.

    Its class probabilities are the softmax of the decision values: ordered as they are, not
    calibrated. Of several labels there is one machine each, and a probability above a half where it
    says yes.

    Args:
        num_classes: Number of classes K.
        input_size: Side S of the flows, pixels.
        features: Flows (B, 2, S, S) to features (B, D).
        size: Number of features D.
    """

    def __init__(
        self, num_classes: int, input_size: int, features: Callable[[Tensor], Tensor], size: int
    ) -> None:
        super().__init__(num_classes, input_size)
        self.features = features
        self.mean = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(size))
        self.head = nn.Linear(size, num_classes)

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        features = (self.features(x) - self.mean) / self.scale
        return self.head(features), features

    @torch.no_grad()
    def fit(self, flows: Tensor, labels: Tensor, seed: int) -> None:
        """See `FittedBaseline.fit`; C is 1, and classes weigh equally much."""
        parts = [self.features(part) for part in torch.split(flows, _BATCH)]
        features = torch.cat(parts).double().cpu().numpy()
        scaler = StandardScaler().fit(features)
        machine = LinearSVC(
            C=1.0, class_weight="balanced", dual=True, max_iter=20_000, random_state=seed % 2**32
        )
        scaled, truth = scaler.transform(features), labels.cpu().numpy()
        if multi_label(labels):
            machines = OneVsRestClassifier(machine).fit(scaled, truth.astype(int)).estimators_
            coefficients, intercepts = (
                np.concatenate([getattr(one, name) for one in machines])
                for name in ("coef_", "intercept_")
            )
        else:
            machine.fit(scaled, truth)
            coefficients, intercepts = machine.coef_, machine.intercept_
        if len(coefficients) == 1:  # two classes have one machine
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        for weight, value in (
            (self.mean, scaler.mean_),
            (self.scale, scaler.scale_),
            (self.head.weight, coefficients),
            (self.head.bias, intercepts),
        ):
            weight.copy_(torch.from_numpy(np.asarray(value)))


def mdmo_machine(num_classes: int, input_size: int) -> LinearMachine:
    """A linear machine on `mdmo_features`."""
    return LinearMachine(num_classes, input_size, mdmo_features, MDMO_SIZE)


def lbp_machine(num_classes: int, input_size: int) -> LinearMachine:
    """A linear machine on `lbp_features`."""
    return LinearMachine(num_classes, input_size, lbp_features, LBP_SIZE)


class Dummy(FittedBaseline):
    """Uses the labels only: the share of each class, and so always predicts the largest one.

    For several labels it stores the odds of each instead of the shares: logarithms of odds are the
    logits of labels, as logarithms of shares are those of classes.
    """

    strategy = "prior"

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.prior = nn.Parameter(torch.full((num_classes,), 1 / num_classes))

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        logits = self.prior.log().expand(len(x), -1)
        return logits, logits

    @torch.no_grad()
    def fit(self, flows: Tensor, labels: Tensor, seed: int) -> None:
        """See `FittedBaseline.fit`."""
        if multi_label(labels):
            shares = labels.double().mean(0)
            self.prior.copy_(shares / (1 - shares))
            return
        dummy = DummyClassifier(strategy=self.strategy).fit(np.zeros(len(labels)), labels.cpu())
        self.prior.copy_(torch.from_numpy(dummy.class_prior_))


class PriorDraw(Dummy):
    """Draws a class with the shares of the fit clips.

    The draw of a clip is seeded by the fold and by the positions of the extremes of its flow: it is
    the same in any batch, and rounding of the flow does not change it.
    """

    strategy = "stratified"

    def __init__(self, num_classes: int, input_size: int) -> None:
        super().__init__(num_classes, input_size)
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def classify(self, x: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `BaselineNetwork.classify`."""
        flat = x.flatten(2)
        extremes = torch.cat([flat.argmin(2), flat.argmax(2)], dim=1).tolist()
        seed, shares = int(self.get_buffer("seed")), self.prior.detach().cpu()
        drawn = [torch.multinomial(shares, 1, generator=_generator(seed, at)) for at in extremes]
        one_hot = nn.functional.one_hot(torch.cat(drawn), self.num_classes)
        logits = _CERTAIN * one_hot.to(x)
        return logits, logits

    @torch.no_grad()
    def fit(self, flows: Tensor, labels: Tensor, seed: int) -> None:
        """See `FittedBaseline.fit`."""
        super().fit(flows, labels, seed)
        self.get_buffer("seed").fill_(seed)


def _generator(seed: int, positions: list[int]) -> torch.Generator:
    return torch.Generator().manual_seed(seed_hash("prior-draw", seed, *positions))
