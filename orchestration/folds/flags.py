"""The flags of the commands that run folds or read finished ones, and of the teacher.

Nothing here loads torch, Ray or pandas: a command line is parsed before the imports of its work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError, unknown
from dadnet.base.location import Location
from dadnet.config.checks import MOST
from dadnet.config.commands import TeacherFlags, teacher_preset
from dadnet.config.experiment import DataConfig, ExperimentConfig
from dadnet.config.presets import PRESETS, get_preset, warmup_note, with_capped_warmup
from dadnet.labels.own_labels import class_set_text


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
    retry_diverged: cli.Switch = False
    """Train the folds again that have diverged; else they are left out, since they would again."""
    fresh: cli.Switch = False
    """Throw away this experiment's finished folds and checkpoints first."""
    strict: cli.Switch = False
    """Refuse to go on if finished folds were made by another version of the program."""
    dry_run: cli.Switch = False
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


def _run_defaults(given: RunFlags) -> RunFlags:
    data = given.experiment.data
    data = DataConfig(dataset=data.dataset, class_set=data.class_set, selection=data.selection)
    preset = preset_of(given.preset, data, given.experiment)
    return replace(RunFlags(), experiment=with_size_of_teacher(preset, given.macro_weights))


def with_room(flags: Any) -> Any:
    """Flags with so many epochs that every warm-up fits: those of the preset are not known yet."""
    optim = replace(flags.experiment.optim, epochs=MOST)
    return replace(flags, experiment=replace(flags.experiment, optim=optim))


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


def preset_of(name: str, data: DataConfig, given: ExperimentConfig) -> ExperimentConfig:
    """The preset of that name, as far as it fits what is given.

    Its warm-up ends before the last epoch; with a network of the user's, it is alone unless asked
    otherwise.
    """
    preset = get_preset(name, data)
    preset = replace(preset, optim=with_capped_warmup(preset.optim, given.optim.epochs))
    if given.model.model is None:
        return preset
    model = replace(preset.model, model_type="baseline", model=given.model.model)
    return replace(preset, model=model)


def capped_warmup(preset: str, experiment: ExperimentConfig) -> str:
    """One line if the preset's warm-up is longer than the epochs leave room for, else ""."""
    name = "reference-v2" if preset in _DFME else preset
    return warmup_note(get_preset(name, experiment.data).optim, experiment.optim)


def with_class_set(argv: Sequence[str]) -> list[str]:
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


# Presets with data: reference-v2 on the official split of DFME, unless flags say otherwise.
_DFME = {f"dfme-{class_set}": class_set for class_set in ("3class", "4class", "7class")}


@dataclass(frozen=True, kw_only=True)
class AblateFlags(RunFlags):
    """What to vary and where to run it; the flags of the experiment describe the base."""

    preset: str = "smoke"
    """Recipe of the base: smoke, reference-v1, reference-v2, or dfme-3class, dfme-4class,
    dfme-7class: reference-v2 on the official split of DFME."""
    grid: tuple[str, ...] = ("modules", "alignment")
    """What is varied: modules (8 variants), alignment (16), weight (5)."""
    site: Path = Path("site")
    """Folder for the page."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.only:
            raise DadnetError("only: an ablation compares whole experiments; leave the option out")


def _ablate_defaults(given: AblateFlags) -> AblateFlags:
    if given.preset not in (known := (*PRESETS, *_DFME)):
        raise unknown("preset", given.preset, known)
    data = given.experiment.data
    data = DataConfig(dataset=data.dataset, class_set=data.class_set, selection=data.selection)
    name = given.preset
    if name in _DFME:
        data = replace(data, dataset="dfme", class_set=_DFME[name], protocol="official")
        name = "reference-v2"
    preset = preset_of(name, data, given.experiment)
    return replace(AblateFlags(), experiment=with_size_of_teacher(preset, given.macro_weights))


@dataclass(frozen=True, kw_only=True)
class ExplainFlags:
    """What to explain, and where."""

    name: tyro.conf.Positional[str | None] = None
    """A complete experiment with kept weights: digest or name, or the beginning of one."""
    experiment: str = ""
    """The same as a flag."""
    ledger: Path = Path("runs")
    """Folder of finished folds."""
    flows: Path | None = None
    """Folder of the flow store, or several separated by commas; default flows/DATASET."""
    macro_weights: Path | None = None
    """The teacher's weights; without them no densities are computed."""
    fold: str | None = None
    """The fold of the densities; default the first."""
    site: Path = Path("site")
    """Folder for the run page."""
    standalone: cli.Switch = False
    """Put plotly into the page, to send it alone; by default it lies beside the page."""

    def __post_init__(self) -> None:
        if not self.name and not self.experiment:
            raise DadnetError("experiment: expected the digest or name of an experiment, got none")
        if self.name and self.experiment:
            raise DadnetError("experiment: expected it once, got it as a word and by --experiment")


@dataclass(frozen=True, kw_only=True)
class RobustnessFlags:
    """What to score, and where."""

    experiments: tyro.conf.Positional[list[str]] = field(default_factory=list)
    """Complete experiments with kept weights: digests or names, or the beginnings of them."""
    experiment: tuple[str, ...] = ()
    """The same as a flag, with commas between."""
    ledger: Path = Path("runs")
    """Folder of finished folds."""
    flows: Path | None = None
    """Folder of the flow store, or several separated by commas; default flows/DATASET."""
    kinds: tuple[str, ...] = ()
    """Kinds of corruption: noise, blur, intensity, downsample, jitter, misalignment (default:
    these), and retiming, which needs --root."""
    root: Path | None = None
    """Folder of the dataset's frames in its official layout, for retiming: jitter made with other
    frames, not on the stored flow."""
    site: Path = Path("site")
    """Folder for the page."""
    standalone: cli.Switch = False
    """Put plotly into the page, to send it alone; by default it lies beside the page."""
    workers: int | None = None
    """Ray tasks side by side; default one per CPU; 0: in this process, without Ray."""
    device: str = "cpu"
    """Where to score; a device other than cpu needs workers 0."""
    dry_run: cli.Switch = False
    """Print what would be scored, and stop."""
    run_source: cli.Switch = False
    """Run the source of a user's own network that the ledger holds, with your rights."""

    def __post_init__(self) -> None:
        if not self.experiment and not self.experiments:
            raise DadnetError("experiment: expected the digest or name of an experiment, got none")
        if self.workers is not None and self.workers < 0:
            raise DadnetError(f"workers: expected 0 or more, got {self.workers}")
        if self.device != "cpu" and self.workers != 0:
            raise DadnetError(f"device: {self.device} needs --workers 0")


# The flags that people use, in the order of the help.
MOST_USED = (
    "dataset", "flows", "preset", "macro_weights", "class_set", "protocol", "model_type", "epochs",
    "ledger", "dry_run",
)  # fmt: skip
GONE = {"resume": "a command goes on where it was by default, --fresh begins again"}
LOSO = cli.Command(
    "python -m orchestration.run_loso",
    RunFlags,
    _run_defaults,
    with_class_set,
    MOST_USED,
    GONE,
    lambda: with_room(RunFlags()),
)
ABLATE = cli.Command(
    "python -m orchestration.ablate",
    AblateFlags,
    _ablate_defaults,
    with_class_set,
    MOST_USED,
    GONE,
    lambda: with_room(AblateFlags()),
)
TEACHER = cli.Command(
    "python -m orchestration.teacher", TeacherFlags, teacher_preset, with_class_set
)
EXPLAIN = cli.Command("python -m orchestration.explain", ExplainFlags)
ROBUSTNESS = cli.Command("python -m orchestration.robustness", RobustnessFlags)


def parse_flags(argv: Sequence[str], description: str | None = None) -> RunFlags:
    """Flags of a run; those of the experiment that are not given come from the preset.

    Raises:
        DadnetError: if the words do not fit.
    """
    return LOSO.parse(argv, description)
