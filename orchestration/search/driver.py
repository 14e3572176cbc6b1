"""What plain and nested searches have in common: settings, workers, cost, progress."""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from dadnet.base.errors import DadnetError
from dadnet.base.location import absolute
from dadnet.training.kinds import how_stacked
from orchestration.folds.cost import Cost, measure_cost
from orchestration.folds.flags import capped_warmup
from orchestration.folds.options import WorkOptions, local_device
from orchestration.folds.plan import Inputs, Plan, plan_of
from orchestration.reporting.progress import Progress, duration
from orchestration.search.flags import TuneFlags
from orchestration.search.service import LocalService, OpenGroup
from orchestration.search.settings import StudySettings, check_space
from orchestration.search.study import Study
from orchestration.search.trial import FoldService
from orchestration.search.trials import run_by_another, search_here
from results.ledger.records import Experiment
from results.ledger.studies import StudyRecord
from search_spaces.load import load_space

PlanFolds = tuple[Plan, Sequence[str]]
"""A plan and the names of some of its folds."""


class StudyProgress(Progress):
    """The progress of a search: a line per trial, the running folds, warnings.

    It has no line per finished fold, since a search has thousands.

    Args:
        flags: of the search.
        console: where to draw.
        clock: seconds; injected in tests.
    """

    def __init__(
        self, flags: TuneFlags, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        events = flags.ledger / ".studies" / "events.jsonl"
        super().__init__(events, flags.base.optim.epochs, "search", console, clock)
        self._last_line = ""
        self._trials = flags.num_trials * (flags.outer_groups if flags.level == "nested" else 1)
        self._num_folds = 1  # of a trial
        # Trials that have ended: in earlier studies, in this one, and before this command in it.
        self._earlier = self._ended = self._found = 0
        self._trained = 0  # trials that this command has ended
        self._finished = 0  # folds since a trial ended
        self._folds = 0  # folds that this command has trained
        self._began = clock()

    def begin_study(self, ended: int, num_folds: int) -> None:
        """The next study begins, with so many trials that have ended, of so many folds each."""
        self._earlier, self._ended, self._num_folds = self._earlier + self._ended, ended, num_folds
        if not self._trained:
            self._began = self.clock()

    def trial_ended(self, ended: int) -> str:
        """So many trials of the study have ended; returns the time left, for the trial's line."""
        self._trained += ended - self._ended
        self._ended, self._finished = ended, 0
        left = self._time_left()
        return f"; ETA {duration(left)}" if math.isfinite(left) else ""

    def _time_left(self) -> float:
        made = self._trained + min(1.0, self._finished / self._num_folds)
        left = self._trials - self._earlier - self._ended - (made - self._trained)
        return (self.clock() - self._began) / made * max(0.0, left) if made else math.inf

    def say(self, line: str) -> None:
        """Print one line, above the live table where there is one."""
        self._last_line = line
        self.console.print(line, markup=False)

    def _print(self, event: Mapping[str, Any], snapshot: Mapping[str, Any]) -> None:
        if event["event"] == "finished":
            self._finished, self._folds = self._finished + 1, self._folds + 1
        else:
            super()._print(event, snapshot)

    def _table(self, snapshot: Mapping[str, Any]) -> Group:
        running, waiting = snapshot["running"], snapshot["counts"]["waiting"]
        table = Table(box=None, pad_edge=False)
        for name in ("experiment/fold", "epoch", "val UF1", "worker"):
            table.add_column(name)
        for row in running:
            info = row["info"]
            score = f"{info['val_uf1']:.3f}" if "val_uf1" in info else ""
            epoch = f"{info.get('epoch', 0)}/{self.epochs}"
            table.add_row(row["name"], epoch, score, row["worker"])
        head = Text(
            f"{self._last_line}\n{self._earlier + self._ended} of {self._trials} trials done, "
            f"{self._folds} folds trained, {len(running)} running, {waiting} waiting; ETA "
            f"{duration(self._time_left())}"
        )
        return Group(head, table)


class SearchWorkers:
    """The workers of a whole search; they start when the first fold is needed."""

    def __init__(self, flags: TuneFlags, name: str, progress: StudyProgress) -> None:
        self._flags, self._name, self._progress = flags, name, progress
        self._group: OpenGroup | None = None
        self._service: FoldService | None = None

    def service(self) -> FoldService:
        """The service that makes folds; the first call starts the worker group."""
        if self._service is None:
            flags = self._flags
            options = WorkOptions(
                absolute(flags.ledger), flags.checkpoint_every, stack=flags.stack, test_side=False
            )
            if flags.workers == 0:
                self._service = LocalService(replace(options, stack=1))
            else:
                self._group = OpenGroup(
                    self._name,
                    options,
                    epochs=flags.base.optim.epochs,
                    workers=flags.workers,
                    on_snapshot=self._progress.show,
                    quiet=self._progress.console.quiet,
                )
                self._service = self._group.service
        return self._service

    def search(self, study: Study) -> bool:
        """Run the missing trials of a study; returns whether it is finished."""
        ended = sum(trial.state.is_finished() for trial in study.trials())
        self._progress.begin_study(ended, len(study.folds))
        if line := run_by_another(study):
            if self._flags.strict:
                raise DadnetError(f"strict: {line}; go on with that, or take another --ledger")
            self._progress.say(f"warning: {line}; another --ledger begins again")
        if not study.finished:
            service = self.service()
            if self._group is None:
                search_here(study, service)
            else:
                from orchestration.search.ray_trials import search_on_ray  # slow to import

                search_on_ray(study, self._group.queue, self._concurrent(study))
            service.drop_base(study.plan)
        return study.finished

    def _concurrent(self, study: Study) -> int:
        """As few trials at a time as keep the workers busy: each then knows of more results."""
        assert self._group is not None
        needed = math.ceil(self._group.workers * self._flags.stack / len(study.folds))
        return self._flags.concurrent_trials or needed

    def close(self) -> None:
        """End the workers."""
        if self._group is not None:
            self._group.close()


def cost_lines(
    trials: int,
    fold_s: Sequence[Sequence[float]],
    winner_s: Sequence[float],
    step: Cost,
    workers: int,
    price: float | None,
) -> list[str]:
    """The most work that a search can take; pruning, early stopping and finished folds save some.

    Args:
        trials: of each study.
        fold_s: for each study the seconds of every fold of a trial.
        winner_s: seconds of the folds that are trained after the search.
        step: the measurement behind these numbers.
        workers: that train side by side.
        price: of an hour of one worker, or None.
    """
    studies = f"{len(fold_s)} outer groups x " if len(fold_s) > 1 else ""
    folds = sorted({len(seconds) for seconds in fold_s})
    count = str(folds[0]) if len(folds) == 1 else f"{folds[0]} to {folds[-1]}"
    trainings = trials * sum(map(len, fold_s))
    seconds = trials * sum(map(sum, fold_s)) + sum(winner_s)
    unit = "GPU" if step.device.startswith("cuda") else "CPU"
    lines = [
        f"{studies}{trials} trials x {count} folds = {trainings:,} trainings at most, and "
        f"{len(winner_s)} for the test side",
        f"about {duration(seconds / workers)} on {workers} workers, {seconds / 3600:.2f} "
        f"{unit}-hours of work; measured on one fold of the base recipe: "
        f"{step.step_s * 1000:.0f} ms a step on {step.device}",
    ]
    if price is not None:
        lines.append(f"{seconds / 3600 * price:,.2f} at {price:g} per {unit}-hour")
    return lines


@dataclass(frozen=True)
class Findings:
    """What a finished search has left in the ledger.

    Attributes:
        studies: one, or one per outer group.
        experiments: what was scored: the winner with each seed, or the nested estimate.
    """

    studies: tuple[StudyRecord, ...]
    experiments: tuple[Experiment, ...]


class SearchRun(ABC):
    """A search from the flags to the scores."""

    def __init__(self, flags: TuneFlags, inputs: Inputs, console: Console) -> None:
        self.flags, self.inputs, self.console = flags, inputs, console
        self.space = load_space(flags.space)
        self.plan = plan_of(flags.base, inputs)

    def study(self, plan: Plan, progress: StudyProgress | None = None, group: str = "") -> Study:
        """The study of a plan, not opened yet.

        Args:
            plan: of the whole set, or of what is left without an outer group.
            progress: takes the lines of the study; None to print them.
            group: name of the outer group that is left out.
        """
        check_space(self.space, plan)
        flags, say = self.flags, progress.say if progress else self.say
        settings = StudySettings(
            space=self.space,
            num_trials=flags.num_trials,
            pruning=flags.pruning,
            second_objective=flags.second_objective,
            folds_per_trial=flags.folds_per_trial,
            num_startup=flags.startup_trials,
            level=flags.level,
            group=group,
        )
        on_end = progress.trial_ended if progress else None
        return Study(plan, settings, flags.ledger, flags.study_storage, say, on_end)

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, markup=False)

    def describe(self) -> None:
        """Print what is searched, and on which data."""
        flags, experiment = self.flags, self.plan.experiment
        self.say(
            f"search of {self.space.name} ({self.space.purpose}): {flags.num_trials} trials, "
            f"pruning {flags.pruning}, selection {flags.level}"
        )
        self.say(
            f"base experiment {experiment.digest}: {experiment.method}, {experiment.dataset}, "
            f"{experiment.protocol}, {experiment.class_set}, {len(self.plan.dataset)} clips, "
            f"{len(self.plan.folds)} folds"
        )
        warmup = capped_warmup(flags.preset, flags.experiment)
        for line in (*self.plan.lines, *filter(None, [warmup])):
            self.say(line)
        classes = len(self.plan.dataset.classes)
        if flags.stack > 1 and (line := how_stacked(self.plan.config, classes, "cpu")):
            self.say(line)

    @abstractmethod
    def run(self) -> Findings | None:
        """Search, train and score; None if the search is not finished."""

    @abstractmethod
    def trainings(self) -> tuple[Sequence[PlanFolds], Sequence[PlanFolds]]:
        """Plan and folds of a trial of every study, and of what is trained for the test side."""

    def print_cost(self) -> None:
        """Time one fold on the device of a local worker; print trainings, hours and price."""
        flags = self.flags
        workers = os.cpu_count() or 1 if flags.workers is None else max(1, flags.workers)
        studies, finals = self.trainings()
        options = WorkOptions(flags.ledger, flags.checkpoint_every, device=local_device())
        step = measure_cost(*studies[0], options, workers=workers)
        fold_s = tuple(step.of(plan, folds).fold_s for plan, folds in studies)
        winner_s = tuple(s for plan, folds in finals for s in step.of(plan, folds).fold_s)
        for line in cost_lines(flags.num_trials, fold_s, winner_s, step, workers, flags.price):
            self.say(line)

    def say_winner(self, study: Study) -> None:
        """Print the best trial and its values."""
        best = study.best()
        assert best is not None
        values = ", ".join(
            f"{name.partition('.')[2]} {_text(value)}"
            for name, value in study.winner_values().items()
        )
        self.say(f"winner: trial {best.number}, val UF1 {best.values[0]:.4f}: {values}")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or "none"
    return str(value)
