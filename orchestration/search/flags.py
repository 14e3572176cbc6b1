"""The flags of `python -m orchestration.tune`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.config.experiment import DataConfig, ExperimentConfig
from orchestration.folds.flags import (
    GONE,
    MOST_USED,
    preset_of,
    with_class_set,
    with_room,
    with_size_of_teacher,
)

T = TypeVar("T")
Pruning = Literal["folds", "asha", "none"]
SecondObjective = Literal["none", "seconds", "parameters"]
# The seeds of the public DFME recipe.
OFFICIAL_SEEDS = (4, 5, 7, 31, 42)


@dataclass(frozen=True, kw_only=True)
class SearchDataConfig(DataConfig):
    """Clips, classes and folds, and which of them the search may use."""

    selection: Literal["auto", "inner", "nested"] = "auto"  # type: ignore[assignment]
    """inner: one study on the val parts of all folds. nested: for each outer group of subjects a
    study without their clips. auto: inner for official splits, nested for LOSO."""


@dataclass(frozen=True, kw_only=True)
class SearchExperiment(ExperimentConfig):
    """The base experiment: what the space does not vary, and the seed of every draw."""

    data: SearchDataConfig = field(default_factory=SearchDataConfig)


@dataclass(frozen=True, kw_only=True)
class TuneFlags:
    """What to search, where, and for how long."""

    flows: Location | None = None
    """Folder or URI of the flow store; default flows/DATASET."""
    ledger: Location = Path("runs")
    """Folder of finished folds and studies, or s3://bucket/folder."""
    preset: str = "smoke"
    """Recipe of everything that is not searched: smoke, reference-v1 or reference-v2."""
    name: str | None = None
    """Name of the winner on the leaderboard; of several seeds, each row says its own."""
    macro_weights: Path | None = None
    """The teacher's weights (.safetensors), made by `python -m orchestration.teacher`."""
    space: str = "alignment"
    """What is searched: the name of a space, or path/to/space.py:function of an Optuna trial. The
    file runs with your rights."""
    num_trials: int = 40
    """Trials of a study; the same command with a larger number continues it."""
    pruning: Pruning = "folds"
    """What stops a trial early: folds compares its folds with the best trial's, asha compares
    epochs, none stops no trial."""
    second_objective: SecondObjective = "none"
    """Also minimise seconds of training or parameters: gives the Pareto front; needs pruning
    none."""
    folds_per_trial: int | None = None
    """Folds of a trial, the first of the shuffled order; default all."""
    startup_trials: int = 10
    """Random trials before the sampler proposes from its model."""
    outer_groups: int = 5
    """Groups of subjects of a nested search."""
    seeds: tuple[int, ...] | None = None
    """Seeds of the winner's trainings; default 4,5,7,31,42 for official splits, else the
    experiment's."""
    study_storage: str | None = None
    """Optuna's storage, any URL that SQLAlchemy knows; default SQLite in the ledger's folder;
    required where the ledger is on object storage."""
    workers: int | None = None
    """Ray Train workers at most; default one per GPU, else per CPU, also of nodes that join later;
    0: in this process, without Ray."""
    concurrent_trials: int | None = None
    """Trials at a time; default as many as keep the workers busy."""
    stack: int = 1
    """Folds that a worker trains at once as one program."""
    checkpoint_every: int = 5
    """Epochs between two saved states of a fold."""
    strict: cli.Switch = False
    """Refuse to go on if trials were run by another version of the program."""
    dry_run: cli.Switch = False
    """Print trainings, hours and cost, estimated from a few measured steps, and stop."""
    price: float | None = None
    """Price of an hour of one worker, for the dry run."""
    site: Path = Path("site")
    """Folder for leaderboard and study pages."""
    standalone: cli.Switch = False
    """Put plotly into each page, to send one alone; by default it lies beside them."""
    experiment: Annotated[SearchExperiment, tyro.conf.arg(name="")] = field(
        default_factory=SearchExperiment
    )

    def __post_init__(self) -> None:
        for name, least in (
            ("num_trials", 1), ("folds_per_trial", 1), ("startup_trials", 1), ("outer_groups", 2),
            ("workers", 0), ("concurrent_trials", 1), ("stack", 1), ("checkpoint_every", 1),
            ("price", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise DadnetError(f"{name}: expected {least} or more, got {value}")
        if self.second_objective != "none" and self.pruning != "none":
            raise DadnetError(
                "second_objective: expected --pruning none with it, since no rule compares two "
                f"objectives; got --pruning {self.pruning}"
            )
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise DadnetError(f"seeds: expected different numbers, got {self.seeds}")
        if self.level == "nested":
            if self.experiment.data.protocol == "official":
                raise DadnetError(
                    "selection: an official split has its own test part, so nothing is nested; "
                    "expected inner"
                )
            if self.seeds is not None and len(self.seeds) > 1:
                raise DadnetError("seeds: a nested search has one, given by --seed; got several")

    @property
    def level(self) -> Literal["inner", "nested"]:
        """The selection level, with `auto` decided."""
        data = self.experiment.data
        if data.selection != "auto":
            return data.selection
        return "inner" if data.protocol == "official" else "nested"

    @property
    def base(self) -> ExperimentConfig:
        """The base experiment; its selection is `inner` at every level."""
        data = _of_type(DataConfig, self.experiment.data, selection="inner")
        return _of_type(ExperimentConfig, self.experiment, data=data)

    @property
    def winner_seeds(self) -> tuple[int, ...]:
        """Seeds of the winner's trainings."""
        if self.seeds is not None:
            return self.seeds
        official = self.experiment.data.protocol == "official"
        return OFFICIAL_SEEDS if official else (self.experiment.seed,)


def _of_type(kind: Callable[..., T], config: Any, **changes: Any) -> T:
    """The fields of a configuration as its base class or a subclass, some of them changed."""
    return kind(**{field.name: getattr(config, field.name) for field in fields(config)} | changes)


def _defaults(given: TuneFlags) -> TuneFlags:
    data = given.experiment.data
    data = SearchDataConfig(dataset=data.dataset, class_set=data.class_set)
    preset = preset_of(
        given.preset, _of_type(DataConfig, data, selection="inner"), given.experiment
    )
    preset = with_size_of_teacher(preset, given.macro_weights)
    # DFME's challenge has an official split only; every other set is LOSO.
    data = replace(data, protocol="official" if data.dataset == "dfme" else "loso")
    return replace(TuneFlags(), experiment=_of_type(SearchExperiment, preset, data=data))


TUNE = cli.Command(
    "python -m orchestration.tune",
    TuneFlags,
    _defaults,
    with_class_set,
    ("space", "num_trials", *MOST_USED),
    GONE,
    lambda: with_room(TuneFlags()),
)


def parse_flags(argv: Sequence[str], description: str | None) -> TuneFlags:
    """Flags of a search; those of the experiment that are not given come from the preset.

    Raises:
        DadnetError: if the words do not fit.
    """
    return TUNE.parse(argv, description)
