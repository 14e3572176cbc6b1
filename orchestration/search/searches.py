"""One search over all subjects: the level `inner`."""

import statistics
from dataclasses import replace

from rich.console import Console

from orchestration.folds.plan import Inputs, Plan, plan_of
from orchestration.search.driver import SearchRun, SearchWorkers
from orchestration.search.flags import TuneFlags
from orchestration.search.study import Study
from orchestration.search.study_progress import StudyProgress
from orchestration.search.winner import WinnerFolds, figures_by_part, score_winner, train_winners
from results.ledger.ledger import Ledger
from results.pages.importance import parameter_importances


class PlainSearch(SearchRun):
    """A study on the val parts of all folds; its winner is scored once per seed.

    With an official split no test label has any part in it. With LOSO a test subject is a
    training subject of other folds, so its labels had a part in choosing the settings: the record
    says `inner`, and the leaderboard that the search was not nested.

    Args:
        flags: of the command.
        inputs: clips and teacher.
        console: the terminal.
    """

    def __init__(self, flags: TuneFlags, inputs: Inputs, console: Console) -> None:
        super().__init__(flags, inputs, console)
        self.plan = plan_of(flags.base, inputs)
        self._bases: dict[int, Plan] = {flags.base.seed: self.plan}

    def describe(self) -> None:
        """Say what is going to be done."""
        self.describe_plan(self.plan)

    def print_cost(self) -> None:
        """Say what it takes."""
        study = self.study(self.plan)
        seeds = self.flags.winner_seeds
        # The base's own folds are trained by the search: the winner's are not trained again.
        finals = [
            (self._base(seed), [fold.name for fold in self.plan.folds])
            for seed in seeds
            if seed != self.flags.base.seed
        ]
        plans = [(self.plan, study.folds)]
        self.print_costs(self.measure(plans, finals))

    def _base(self, seed: int) -> Plan:
        if seed not in self._bases:
            # Only a control permutes labels, by the seed; its clips are those of the first seed.
            self._bases[seed] = plan_of(replace(self.flags.base, seed=seed), self.inputs)
        return self._bases[seed]

    def run(self) -> bool:
        """Search, train and score; whether all is done."""
        events = self.flags.ledger / ".studies" / "events.jsonl"
        with StudyProgress(events, self.flags.base.optim.epochs, self.console) as progress:
            study = self.study(self.plan, progress)
            study.open()
            try:
                winners = self._search(study, progress)
                if winners is not None:
                    self._score(study, winners)
            finally:
                study.close()
        return winners is not None

    def _search(self, study: Study, progress: StudyProgress) -> list[WinnerFolds] | None:
        """Run the trials and train the winner; None if the study is not finished."""
        workers = SearchWorkers(self.flags, f"search-{study.name}", progress)
        try:
            if not workers.search(study):
                return None
            winners = self._winners(study)
            train_winners(winners, workers.service, self.flags.ledger)
            return winners
        finally:
            workers.close()

    def _winners(self, study: Study) -> list[WinnerFolds]:
        values = study.winner_values()
        found = []
        for seed in self.flags.winner_seeds:
            winner = WinnerFolds.of(self._base(seed), values, (), study.digest)
            missing = Ledger(self.flags.ledger).missing(winner.plan.experiment)
            found.append(replace(winner, folds=missing))
        return found

    def _score(self, study: Study, winners: list[WinnerFolds]) -> None:
        ledger = self.flags.ledger
        for winner in winners:
            score_winner(winner.plan, ledger, study.digest)
        record = study.store(tuple(w.plan.experiment.digest for w in winners))
        self.say_winner(study)
        if found := parameter_importances(record):
            shares = ", ".join(f"{name} {share:.2f}" for name, share in found.items())
            self.say(f"importances (PED-ANOVA): {shares}")
        figures = [figures_by_part(winner.plan.experiment, ledger) for winner in winners]
        for part in figures[0]:
            name = part or "test"
            for winner, by_part in zip(winners, figures, strict=True):
                scores = by_part[part]
                self.say(
                    f"{name}, seed {winner.plan.config.seed}: UF1 {scores['uf1']:.4f}, "
                    f"UAR {scores['uar']:.4f}"
                )
            if len(winners) > 1:
                self.say(f"{name}: {_mean(figures, part, 'uf1')}, {_mean(figures, part, 'uar')}")
        if self.plan.config.data.protocol == "loso":
            best = study.best()
            assert best is not None
            self.say(
                f"val UF1 of the winner {best.values[0]:.4f} is optimistic: it was chosen for it. "
                "Its test UF1 is not nested either: every subject's labels had a part in the "
                "choice (--selection nested)"
            )


def _mean(figures: list[dict[str, dict[str, float]]], part: str, name: str) -> str:
    values = [by_part[part][name] for by_part in figures]
    spread = statistics.stdev(values)
    return f"{name.upper()} {statistics.fmean(values):.4f} +- {spread:.4f} over {len(values)} seeds"
