"""The flags of `python -m orchestration.run_loso`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.config.experiment import DataConfig, ExperimentConfig, ModelConfig
from dadnet.config.presets import get_preset
from dadnet.labels.own_labels import class_set_text

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What to run and where; only the experiment's own flags change a number."""

    flows: str | Path | None = None
    """Folder or URI of the flow store, or several with commas between; default flows/DATASET, for
    megc2019 those of its three datasets. Without it the synthetic set is made, with its teacher,
    in the folder demo."""
    ledger: Location = Path("runs")
    """Folder of finished folds, or s3://bucket/folder."""
    preset: str = "smoke"
    """Recipe that gives the defaults: smoke, reference-v1, reference-v2, or that of a method's
    paper, under a name of --model-type."""
    name: str | None = None
    """Name of the experiment on the leaderboard, which changes no number; by default its method and
    what differs from the other rows. `dadnet rename` gives another one."""
    macro_weights: Path | None = None
    """The teacher's weights (.safetensors), made by `python -m orchestration.teacher`."""
    workers: int | None = None
    """Ray Train workers at most; default one per GPU, else per CPU, also of nodes that join later;
    0: in this process, without Ray."""
    gpus_per_worker: float | None = None
    """Share of a GPU that a worker takes, up to 1: with 0.5 two of them train side by side. Default
    1 where the cluster has GPUs, else workers take CPUs; given, they wait for GPUs to come."""
    stack: int | Literal["auto"] = 1
    """Folds that a worker trains at once as one program; auto: what it measures to be fastest."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Capture a training step on a GPU as one CUDA graph; auto: where it gives equal numbers and is
    faster; on: also where it is slower."""
    checkpoint_every: int = 5
    """Epochs between two states of a fold."""
    keep_weights: Literal["best", "none"] = "none"
    """Keep the chosen weights of every fold in the ledger, for `dadnet predict` and `export`."""
    keep_features: Literal["test", "none"] = "test"
    """Keep the student's pooled features of the test clips, for the map on the run's page."""
    only: tuple[str, ...] = ()
    """Run these folds alone, by name, with commas between; the others stay missing."""
    resume: bool = False
    """Go on from finished folds and checkpoints; this is the default."""
    retry_diverged: bool = False
    """Train the folds again that have diverged; else they are left out, since they would again."""
    fresh: bool = False
    """Throw away this experiment's finished folds and checkpoints first."""
    strict: bool = False
    """Refuse to go on if finished folds were made by another version of the program."""
    dry_run: bool = False
    """Print the plan, with the time it takes by a few measured steps, and stop."""
    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")] = field(
        default_factory=ExperimentConfig
    )

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise DadnetError(f"workers: expected 0 or more, got {self.workers}")
        if self.gpus_per_worker is not None and not 0 < self.gpus_per_worker <= 1:
            raise DadnetError(
                f"gpus_per_worker: expected more than 0 and at most 1, got {self.gpus_per_worker}"
            )
        if self.stack != "auto" and self.stack < 1:
            raise DadnetError(f"stack: expected auto or 1 or more, got {self.stack}")
        if self.checkpoint_every < 1:
            raise DadnetError(f"checkpoint_every: expected 1 or more, got {self.checkpoint_every}")
        if self.resume and self.fresh:
            raise DadnetError("expected --resume or --fresh, got both")


def parse_flags(argv: Sequence[str], description: str | None = None) -> RunFlags:
    """Flags of a run; those of the experiment that are not given come from the preset.

    Raises:
        DadnetError: if the words do not fit.
    """
    prog = "python -m orchestration.run_loso"
    return parse_with_preset(RunFlags, argv, _defaults, prog, description)


def _defaults(given: RunFlags) -> RunFlags:
    data = given.experiment.data
    data = DataConfig(dataset=data.dataset, class_set=data.class_set, selection=data.selection)
    preset = preset_of(given.preset, data, given.experiment.model)
    return replace(RunFlags(), experiment=with_size_of_teacher(preset, given.macro_weights))


def with_size_of_teacher(preset: ExperimentConfig, macro_weights: Path | None) -> ExperimentConfig:
    """The preset with the input size of the teacher, which both streams must have."""
    if macro_weights is None or preset.model.model_type not in ("dad_net", "baseline"):
        return preset
    from dadnet.models.weights import stated_input_size  # it loads torch

    if (size := stated_input_size(macro_weights)) is None:
        return preset
    return replace(preset, model=replace(preset.model, input_size=size))


def preset_warning(preset: str, dataset: str) -> str:
    """Return a line if the recipe for trying the program meets a real dataset; else ""."""
    if preset != "smoke" or dataset.startswith("synthetic"):
        return ""
    return (
        f"warning: preset smoke is no recipe for {dataset}: small flows and 30 epochs, to try the "
        "program; take --preset reference-v2, or the one of a method's paper"
    )


def preset_of(name: str, data: DataConfig, given: ModelConfig) -> ExperimentConfig:
    """The preset of that name; with a network of the user's, it is alone unless asked otherwise."""
    preset = get_preset(name, data)
    if given.model is None:
        return preset
    model = replace(preset.model, model_type="baseline", model=given.model)
    return replace(preset, model=model)


def _with_class_set(argv: Sequence[str]) -> list[str]:
    """The words with the content of a file of classes in the place of its name.

    The content is a part of the experiment, and the file need not be on every machine.
    """
    words = [word.replace("_", "-", 1) if word.startswith("--class_set") else word for word in argv]
    for k, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--class-set" and equals:
            words[k] = f"{flag}={class_set_text(value)}"
        elif flag == "--class-set" and k + 1 < len(words):
            words[k + 1] = class_set_text(words[k + 1])
    return words


def parse_with_preset(
    flags: type[T],
    argv: Sequence[str],
    defaults: Callable[[T], T],
    prog: str,
    description: str | None,
) -> T:
    """Parse flags whose defaults come from a preset.

    The preset is a flag itself and depends on other flags, so the command line is parsed twice:
    first for these flags alone, then with the preset's values, which `defaults` returns for the
    flags of the first pass.

    Raises:
        DadnetError: if the words do not fit.
    """
    argv = _with_class_set(argv)
    text, given = description or "", flags()
    if not {"--help", "-h"} & set(argv):
        given = cli.parse(flags, argv, prog=prog, description=text)
    return cli.parse(flags, argv, default=defaults(given), prog=prog, description=text)
