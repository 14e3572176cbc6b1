"""A search for each outer group of subjects: the level `nested`.

Every subject is tested by the LOSO fold that leaves it out, with the settings that a search over
the subjects outside its group has found. So the figure is comparable with any other LOSO figure,
and no label of a test subject had a part in its settings, its epoch or its weights.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.console import Console

from orchestration.folds.plan import Inputs, Plan, plan_of
from orchestration.search.driver import SearchRun, SearchWorkers
from orchestration.search.flags import TuneFlags
from orchestration.search.nested import outer_groups
from orchestration.search.study_progress import StudyProgress
from orchestration.search.winner import (
    NestedFold,
    WinnerFolds,
    nested_experiment,
    pooled_test_uf1,
    score_nested,
    train_winners,
)
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyLedger, StudyRecord


class NestedSearch(SearchRun):
    """One study per outer group, then every fold with its group's winner.

    Args:
        flags: of the command.
        inputs: clips and teacher.
        console: the terminal.
    """

    def __init__(self, flags: TuneFlags, inputs: Inputs, console: Console) -> None:
        super().__init__(flags, inputs, console)
        self.plan = plan_of(flags.base, inputs)
        self.groups = outer_groups(self.plan.dataset.clips, flags.outer_groups, flags.base.seed)

    def describe(self) -> None:
        """Say what is going to be done."""
        self.describe_plan(self.plan)
        sizes = ", ".join(str(len(group)) for group in self.groups)
        self.say(f"{len(self.groups)} outer groups of {sizes} subjects")

    def _outer(self) -> Iterator[tuple[str, tuple[str, ...], Plan]]:
        """Name, subjects, and the plan of the others; one at a time, since each copies flows."""
        for number, group in enumerate(self.groups, start=1):
            plan = plan_of(self.flags.base, self.inputs.without(group))
            yield f"{number} of {len(self.groups)}", group, plan

    def print_cost(self) -> None:
        """Say what it takes."""
        studies = [(plan, self.study(plan, group=name).folds) for name, _, plan in self._outer()]
        finals = [(self.plan, [fold.name for fold in self.plan.folds])]
        self.print_costs(self.measure(studies, finals))

    def run(self) -> bool:
        """Search, train and score; whether all is done."""
        events = self.flags.ledger / ".studies" / "events.jsonl"
        records: list[StudyRecord] = []
        winners: list[WinnerFolds] = []
        with StudyProgress(events, self.flags.base.optim.epochs, self.console) as progress:
            name = f"search-{self.plan.experiment.dataset}-{self.plan.experiment.digest}"
            workers = SearchWorkers(self.flags, name, progress)
            try:
                for group, subjects, plan in self._outer():
                    progress.say(f"outer group {group}: {', '.join(subjects)} left out")
                    study = self.study(plan, progress, group)
                    study.open()
                    try:
                        if not workers.search(study):
                            return False
                        # Its winner is trained on other subjects, so these are of no use.
                        study.release_weights()
                        values = study.winner_values()
                        self.say_winner(study)
                        records.append(study.record())
                    finally:
                        study.close()
                    winners.append(WinnerFolds.of(self.plan, values, subjects, study.digest))
                experiment, folds = self._experiment(winners)
                missing = set(Ledger(self.flags.ledger).missing(experiment))
                wanted = [
                    replace(winner, folds=tuple(f for f in winner.folds if f in missing))
                    for winner in winners
                ]
                train_winners(wanted, workers.service, self.flags.ledger)
            finally:
                workers.close()
        score_nested(experiment, folds, self.flags.ledger)
        for record in records:
            StudyLedger(self.flags.ledger).put(replace(record, scored=(experiment.digest,)))
        self._say_estimates(records, pooled_test_uf1(experiment, self.flags.ledger))
        return True

    def _experiment(self, winners: list[WinnerFolds]) -> tuple[Any, list[NestedFold]]:
        folds = sorted(
            (NestedFold(name, winner.plan, winner.study) for winner in winners
             for name in winner.folds),
            key=lambda fold: fold.name,
        )  # fmt: skip
        flags = self.flags
        search = {
            "space": self.space.name,
            "pruning": flags.pruning,
            "folds_per_trial": flags.folds_per_trial,
            "outer_groups": [list(group) for group in self.groups],
        }
        return nested_experiment(self.plan, folds, search), folds

    def _say_estimates(self, records: list[StudyRecord], nested: float) -> None:
        own = [record.best.values[0] for record in records if record.best and record.best.values]
        estimate = statistics.fmean(own)
        self.say(f"not nested: UF1 {estimate:.4f}, the winners' own val UF1, mean of the groups")
        self.say(f"nested: UF1 {nested:.4f}, on subjects that no part of the search saw")
        self.say(f"gap {estimate - nested:+.4f}")
