"""A search space: a function from an Optuna trial to values of the experiment's fields."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import ExperimentConfig


class Trial(Protocol):
    """What a space needs of an Optuna trial; Optuna itself is slow to import."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        """One of the choices."""

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float:
        """A number from low to high."""

    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = False) -> int:
        """A whole number from low to high."""


Values = Mapping[str, Any]
"""``section.field`` of the experiment -> value, such as ``loss.alignment_weight`` -> 0.5."""
Suggest = Callable[[Trial], Values]
ParamsOf = Callable[[ExperimentConfig], dict[str, Any]]

SECTIONS = ("model", "loss", "optim")
# Fixed by the teacher, and by the flows that a study loads once.
FIXED = ("model.model_type", "model.macro_size", "model.input_size", "model.model")
# Before the name of an argument of a user's own network (`--model`).
ARGUMENTS = "model.args."


@dataclass(frozen=True)
class Space:
    """What a study varies.

    Attributes:
        name: on the command line.
        purpose: one line of description.
        suggest: draws parameters from the trial (define-by-run) and returns the experiment's values
            that follow from them. Fields that are not returned keep the base's value.
        params_of: the inverse: the parameters of an experiment, so that a known recipe can be the
            first trial; None where there is no inverse.
    """

    name: str
    purpose: str
    suggest: Suggest
    params_of: ParamsOf | None = None

    def draw(self, trial: Trial) -> dict[str, Any]:
        """The values of `suggest` as plain numbers, words and lists, which a ledger can hold.

        Raises:
            DadnetError: if it returns anything else.
        """
        values = self.suggest(trial)
        if not isinstance(values, Mapping):
            raise DadnetError(
                f"space {self.name}: expected a dict of section.field and value, "
                f"got {type(values).__name__}"
            )
        try:
            plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=_plain))
        except (TypeError, ValueError) as error:
            raise DadnetError(f"space {self.name}: expected numbers and words; {error}") from error
        return plain


def _plain(value: object) -> object:
    """A number or an array of numpy or torch, for `json`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"got {type(value).__name__} {value!r}")


def searchable() -> tuple[str, ...]:
    """Every ``section.field`` that a space may vary, sorted."""
    config = ExperimentConfig()
    names = [
        f"{section}.{field.name}"
        for section in SECTIONS
        for field in dataclasses.fields(getattr(config, section))
    ]
    return tuple(sorted(set(names) - {*FIXED, "model.model_args"}))


def apply_values(base: ExperimentConfig, values: Values) -> ExperimentConfig:
    """The base experiment with some values replaced.

    Args:
        base: the base experiment of the study.
        values: of `Space.suggest`.

    Raises:
        DadnetError: if a name is not one of `searchable`, or a value is out of its range.
    """
    known = searchable()
    if unknown := sorted(n for n in values if n not in known and not n.startswith(ARGUMENTS)):
        raise DadnetError(
            f"space: expected fields out of {', '.join(known)}, or {ARGUMENTS}NAME; got "
            f"{', '.join(unknown)}"
        )
    config = base
    arguments = {
        name.removeprefix(ARGUMENTS): value
        for name, value in values.items()
        if name.startswith(ARGUMENTS)
    }
    if arguments:
        model = config.model
        if model.model is None:
            raise DadnetError(f"space: expected --model with {ARGUMENTS}{next(iter(arguments))}")
        model = replace(model, model_args={**model.model_args, **arguments})
        config = replace(config, model=model)
    for section in SECTIONS:
        changes = {
            name.partition(".")[2]: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name.startswith(f"{section}.") and not name.startswith(ARGUMENTS)
        }
        if changes:
            config = replace(config, **{section: replace(getattr(config, section), **changes)})
    return config
