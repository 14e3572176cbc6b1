"""The network of an experiment."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dadnet.base.digests import canonical_json
from dadnet.base.errors import DadnetError
from dadnet.base.own_code import OwnCode
from dadnet.config.baselines import BASELINES, ModelType
from dadnet.config.checks import LARGEST_SIDE, check_fields, require

Size = Literal["ultralight", "nano", "micro", "tiny", "small", "base"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. `baseline` is the student alone."""

    model_type: ModelType = "dad_net"
    """Dual stream with a frozen teacher, the student alone (baseline), or another method, which
    uses only input_size of the other fields, and of the loss only label_smoothing."""
    micro_size: Size = "micro"
    """Size of the trainable student."""
    macro_size: Size = "ultralight"
    """Size of the frozen teacher."""
    input_size: int = 224
    """Side of the flow field in pixels, at least 32 (28 for most other methods); by default the
    teacher's, without a teacher the preset's. Stored flows of another size are resized."""
    flow_correction: Literal["inverse", "similarity"] = "inverse"
    """How the spatial transformer corrects the vectors it resamples."""
    head: Literal["tokens", "pooled", "linear"] = "tokens"
    """Attention over positions, the reference's head at batch size one, or none."""
    stn: bool = True
    """Spatial transformer in front of the student."""
    channel_attention: bool = True
    """Peak-enhanced channel attention between the stages."""
    drop_path: float = 0.0
    """Stochastic depth at the last block; grows linearly from 0. The reference uses none."""
    model: OwnCode | None = None
    """A network of your own as the student, alone or (--model-type dad_net) beside the teacher:
    FILE.py:function or package.module:function, called with num_classes, input_size and
    --model-args. The file runs with your rights, here and on every worker. See
    docs/own_model.md."""
    model_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of your own network, such as width=16 dropout=0.2."""

    def __post_init__(self) -> None:
        check_fields(self)
        least, name = 32, "at least 32 (the stages halve 4, 2, 2, 2)"
        method = BASELINES.get(self.model_type)
        if method is not None:
            least, name = 28, "at least 28"
        elif self.own_alone:
            least, name = 2, "at least 2"
        fits = least <= self.input_size <= LARGEST_SIDE
        require(self, "input_size", fits, f"{name}, at most {LARGEST_SIDE}")
        if method is not None:
            divides = self.input_size % method.multiple == 0
            expected = f"a multiple of {method.multiple} for {self.model_type}"
            require(self, "input_size", divides, expected)
        require(self, "drop_path", 0 <= self.drop_path < 1, "0 <= p < 1")
        if self.model is not None:
            alone_or_dual = self.model_type in ("baseline", "dad_net")
            require(self, "model_type", alone_or_dual, "baseline or dad_net with --model")
        elif self.model_args:
            raise DadnetError("model_args: expected none without --model")
        if bad := [name for name in self.model_args if not str(name).isidentifier()]:
            raise DadnetError(f"model_args: expected names of arguments, got {bad[0]!r}")
        object.__setattr__(self, "model_args", json.loads(canonical_json(dict(self.model_args))))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of the fields; a network of the user's own is there only if there is one."""
        config: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.model is None:
            del config["model"], config["model_args"]
        return config

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """Build from :meth:`to_json`.

        Raises:
            DadnetError: if a value is out of its range.
            TypeError: if a field is unknown.
        """
        own = data.get("model")
        return cls(**{**data, "model": None if own is None else OwnCode.from_json(own)})

    @property
    def own_alone(self) -> bool:
        """Whether a network of the user's is the whole model."""
        return self.model is not None and self.model_type == "baseline"

    @property
    def student_name(self) -> str:
        """Name of the student on the leaderboard."""
        if self.model is None:
            return self.micro_size
        named = ", ".join(f"{name}={value}" for name, value in sorted(self.model_args.items()))
        return f"{self.model.function}({named})" if named else self.model.function
