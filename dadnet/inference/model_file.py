"""The model file: weights of one network, and a card with everything that a prediction needs.

Teachers, folds with kept weights and converted checkpoints share this format: one safetensors file
with the card as JSON in its metadata. Class names, input size and normalisation come from the card,
so a prediction cannot use wrong ones. Nothing in the file can run code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.config.baselines import BASELINES
from dadnet.config.checks import check_fields, require
from dadnet.config.experiment import ModelConfig
from dadnet.models import MicroFlowNeXt, load_weights, save_weights, weights_digest
from dadnet.models.own import OwnNetwork

if TYPE_CHECKING:
    from dadnet.models.baselines import BaselineNetwork

CARD = "dadnet_card"
SCHEMA = 1
ALL_SUBJECTS = "*"  # as in `ckplus/*`: the training subjects of the set are unknown

Kind = Literal["teacher", "fold", "converted"]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Description of a network's weights.

    Attributes:
        kind: a macro teacher, a fold of an experiment, or a converted checkpoint.
        model: the architecture, a dual one as a `baseline`.
        classes: class or label names, in the order of the outputs.
        normalisation: statistics of the z-score: of each clip, or of the fit clips.
        statistics: mean and standard deviation of the fit clips, each (u, v) in pixels at the
            input size; None with statistics of each clip.
        subjects: all fit and val subjects; ``dataset/*`` for all of a set; empty: unknown.
        data_digest: digest of the flow store; empty: unknown.
        made_from: digest of the origin: the experiment of a fold, data and settings of a teacher,
            the bytes of a converted file.
        flow: parameters of the flow store; empty: unknown.
        metrics: figures on the validation subjects.
        origin: further facts, such as dataset, class set, fold, epoch, versions.
        weights_digest: hash of the weights, 16 hexadecimal digits.
        multi_label: each output is a label by itself.
    """

    kind: Kind
    model: ModelConfig
    classes: tuple[str, ...]
    normalisation: Literal["clip", "fit"] = "clip"
    statistics: tuple[Pair, Pair] | None = None
    subjects: tuple[str, ...] = ()
    data_digest: str = ""
    made_from: str = ""
    flow: Mapping[str, Any] = field(default_factory=dict, hash=False)
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    origin: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weights_digest: str = ""
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DadnetError(f"card: expected one of {', '.join(get_args(Kind))}; got {self.kind}")
        check_fields(self)
        for name in ("flow", "metrics", "origin"):
            require(self, name, isinstance(getattr(self, name), Mapping), "fields by name")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DadnetError(
                f"card: expected two or more different class names, got {', '.join(self.classes)}"
            )
        if (self.normalisation == "fit") != (self.statistics is not None):
            raise DadnetError("card: expected statistics with normalisation fit, and only there")

    def to_json(self) -> str:
        """The card as JSON; newer fields are left out at their default."""
        card = {"schema": SCHEMA, **asdict(self)}
        card["model"] = self.model.to_json()
        if not self.multi_label:
            del card["multi_label"]
        return json.dumps(card, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read :meth:`to_json`.

        Raises:
            DadnetError: if the text is damaged, of another schema, or lacks something.
        """
        try:
            card = json.loads(text)
            if card.pop("schema") != SCHEMA:
                raise DadnetError(f"card: expected schema {SCHEMA}; made by a newer version")
            if unknown := sorted(set(card) - {f.name for f in fields(cls)}):
                raise DadnetError(f"card: unknown {', '.join(unknown)}; made by a newer version")
            if not isinstance(card.get("multi_label", False), bool):
                raise DadnetError("card: damaged (multi_label)")
            for name in ("classes", "subjects"):
                card[name] = tuple(map(str, card[name]))
            if card["statistics"] is not None:
                (a, b), (c, d) = card["statistics"]
                card["statistics"] = ((float(a), float(b)), (float(c), float(d)))
                if not all(map(math.isfinite, (*card["statistics"][0], *card["statistics"][1]))):
                    raise DadnetError("card: damaged (statistics that are not finite)")
            return cls(**{**card, "model": ModelConfig.from_json(card["model"])})
        except DadnetError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise DadnetError(f"card: damaged ({type(error).__name__}: {error})") from error


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network that can predict: its weights and its card."""

    weights: Mapping[str, Tensor]
    card: ModelCard
    name: str = ""

    def network(self) -> MicroFlowNeXt | BaselineNetwork | OwnNetwork:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises:
            DadnetError: if the weights do not fit the architecture of the card.
        """
        # No memory or random draws for weights that are replaced; a user's code may need both.
        with torch.device("cpu" if self.card.model.model is not None else "meta"):
            network = build_network(self.card.model, len(self.card.classes), None)
        expected = network.state_dict()
        _check_shapes(self.weights, expected)
        network.load_state_dict(dict(self.weights), assign=True)
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation as for `dadnet.flow.normalisation.normalise`."""
        if self.card.statistics is None:
            return None
        mean, std = self.card.statistics
        return torch.tensor(mean), torch.tensor(std)

    def save(self, path: Location) -> None:
        """Write the file atomically; the hash of the weights is added to the card."""
        card = replace(self.card, weights_digest=weights_digest(self.weights))
        save_weights(path, self.network(), {CARD: card.to_json()})


class SourceNotRunError(DadnetError):
    """A file needs source of its own to be run, which nobody has asked for."""


def load_model_file(path: Path, *, run_source: bool = False) -> TrainedModel:
    """Read a file of :meth:`TrainedModel.save` and check it against its card.

    Args:
        path: the file.
        run_source: whether source of a user's own network in the card may be run.

    Raises:
        DadnetError: if it is missing or damaged, has no card, or has other weights than its card
            says, or is built by source that may not be run.
    """
    model = read_model_file(path)
    try:
        if (own := model.card.model.model) is not None and not run_source:
            raise SourceNotRunError(
                f"its network is built by source in the file ({own}), which would run with your "
                "rights; read it (predict --card prints it), then give --run-source"
            )
        model.network()
    except DadnetError as error:
        kind = SourceNotRunError if isinstance(error, SourceNotRunError) else DadnetError
        raise kind(f"weights: {path} cannot be used: {error}") from error
    return model


def read_model_file(path: Path) -> TrainedModel:
    """Read a model file without building its network; the errors are those of the file alone."""
    weights, metadata = load_weights(path)
    if CARD not in metadata:
        raise DadnetError(
            f"weights: {path} has no card (class names, input size, normalisation); expected a "
            "file of `run_loso --keep-weights best`, of `orchestration.teacher` or of "
            "`dadnet convert`"
        )
    try:
        model = TrainedModel(weights, ModelCard.from_json(metadata[CARD]), str(path))
        if weights_digest(weights) != model.card.weights_digest:
            raise DadnetError("the weights are not those of the card")
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            raise DadnetError("the weights hold values that are not finite")
    except DadnetError as error:
        raise DadnetError(f"weights: {path} cannot be used: {error}") from error
    return model


def build_network(
    model: ModelConfig, num_classes: int, draws: torch.Generator | None
) -> MicroFlowNeXt | BaselineNetwork | OwnNetwork:
    """The single network of a configuration, in `micro_size`; of a dual one, the student.

    `draws` is the generator of the initial weights; None: torch's default.

    Raises:
        DadnetError: if the input size does not fit.
    """
    if model.model is not None:
        return OwnNetwork(model, num_classes, draws)
    if model.model_type in BASELINES:
        from dadnet.models.baselines import build_baseline  # it loads scikit-learn

        return build_baseline(model.model_type, num_classes, model.input_size, draws)
    return MicroFlowNeXt(
        num_classes,
        model.micro_size,
        model.input_size,
        model.flow_correction,
        model.head,
        use_stn=model.stn,
        channel_attention=model.channel_attention,
        drop_path_rate=model.drop_path,
        generator=draws,
    )


def _check_shapes(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise unless names, shapes and kinds of number are exactly those expected."""
    for name in sorted({*weights, *expected}):
        actual, wanted = (_shape(tensors.get(name)) for tensors in (weights, expected))
        if actual != wanted:
            raise DadnetError(f"expected {name} as {wanted}, got {actual}")


def _shape(tensor: Tensor | None) -> str:
    return "no such weight" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
