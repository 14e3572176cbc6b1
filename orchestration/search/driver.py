"""What plain and nested searches share: flags to settings, workers, cost."""

import math
import os
from collections.abc import Sequence

from rich.console import Console

from orchestration.folds.options import WorkOptions, local_device
from orchestration.folds.plan import Inputs, Plan
from orchestration.search.flags import TuneFlags
from orchestration.search.search_cost import SearchCost, measure_search
from orchestration.search.service import LocalService, OpenGroup, SearchService
from orchestration.search.settings import SearchSettings, check_space
from orchestration.search.study import Study
from orchestration.search.study_progress import StudyProgress
from orchestration.search.trials import search_here, search_on_ray
from search_spaces.load import load_space


class SearchWorkers:
    """Whoever trains: started when the first fold is wanted, for the whole search.

    Args:
        flags: of the search.
        name: of the group.
        progress: shows it.
    """

    def __init__(self, flags: TuneFlags, name: str, progress: StudyProgress) -> None:
        self._flags, self._name, self._progress = flags, name, progress
        self._group: OpenGroup | None = None
        self._service: SearchService | None = None

    def service(self) -> SearchService:
        """Who makes folds; starts the group if there is none yet."""
        if self._service is None:
            flags = self._flags
            if flags.workers == 0:
                options = WorkOptions(flags.ledger, flags.checkpoint_every, test_side=False)
                self._service = LocalService(options)
            else:
                self._group = OpenGroup(
                    self._name,
                    flags.ledger,
                    flags.checkpoint_every,
                    epochs=flags.base.optim.epochs,
                    workers=flags.workers,
                    stack=flags.stack,
                    on_snapshot=self._progress.show,
                )
                self._service = self._group.service
        return self._service

    def search(self, study: Study) -> bool:
        """Run the trials that a study lacks; whether it is finished."""
        if not study.finished:
            service = self.service()
            if self._group is None:
                search_here(study, service)
            else:
                search_on_ray(study, self._group.board, self._concurrent(study))
            service.drop_base(study.plan)
        return study.finished

    def _concurrent(self, study: Study) -> int:
        """Trials at a time: as few as keep the workers busy, since each waits for less news."""
        assert self._group is not None
        needed = math.ceil(self._group.workers * self._flags.stack / len(study.folds))
        return self._flags.concurrent_trials or needed

    def close(self) -> None:
        """Let the workers end."""
        if self._group is not None:
            self._group.close()


class SearchRun:
    """A search from flags to figures.

    Args:
        flags: of the command.
        inputs: clips and teacher.
        console: the terminal.
    """

    def __init__(self, flags: TuneFlags, inputs: Inputs, console: Console) -> None:
        self.flags, self.inputs, self.console = flags, inputs, console
        self.space = load_space(flags.space)

    def settings(self, group: str = "") -> SearchSettings:
        """How to search, for the whole set or without an outer group."""
        return SearchSettings(
            space=self.space,
            num_trials=self.flags.num_trials,
            pruning=self.flags.pruning,
            second_objective=self.flags.second_objective,
            folds_per_trial=self.flags.folds_per_trial,
            num_startup=self.flags.startup_trials,
            level=self.flags.level,
            group=group,
        )

    def study(self, plan: Plan, say: StudyProgress | None = None, group: str = "") -> Study:
        """The study of a plan, not opened yet."""
        check_space(self.space, plan)
        line = say.say if say else self.say
        return Study(plan, self.settings(group), self.flags.ledger, self.flags.study_storage, line)

    def say(self, line: str) -> None:
        """One line for a person."""
        self.console.print(line, markup=False)

    def describe_plan(self, plan: Plan) -> None:
        """What is searched, on what."""
        flags, experiment = self.flags, plan.experiment
        self.say(
            f"search of {self.space.name} ({self.space.purpose}): {flags.num_trials} trials, "
            f"pruning {flags.pruning}, selection {flags.level}"
        )
        self.say(
            f"base experiment {experiment.digest}: {experiment.method}, {experiment.dataset}, "
            f"{experiment.protocol}, {experiment.class_set}, {len(plan.dataset)} clips, "
            f"{len(plan.folds)} folds"
        )
        self.say(plan.audit)

    def measure(
        self,
        studies: Sequence[tuple[Plan, Sequence[str]]],
        finals: Sequence[tuple[Plan, Sequence[str]]],
    ) -> SearchCost:
        """Time one fold on the device that a worker here would have; see `measure_search`."""
        options = WorkOptions(self.flags.ledger, self.flags.checkpoint_every, device=local_device())
        workers = self.flags.workers if self.flags.workers is not None else os.cpu_count() or 1
        return measure_search(studies, self.flags.num_trials, finals, options, max(1, workers))

    def print_costs(self, cost: SearchCost) -> None:
        """Trainings, hours, money."""
        workers = self.flags.workers or os.cpu_count() or 1
        for line in cost.lines(workers, self.flags.price):
            self.say(line)

    def say_winner(self, study: Study) -> None:
        """The best trial and its values."""
        best = study.best()
        assert best is not None
        values = ", ".join(f"{k.partition('.')[2]} {_text(v)}" for k, v in _values(best).items())
        self.say(f"winner: trial {best.number}, val UF1 {best.values[0]:.4f}: {values}")


def _values(trial: object) -> dict[str, object]:
    found: dict[str, object] = getattr(trial, "user_attrs", {}).get("values", {})
    return found


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or "none"
    return str(value)
