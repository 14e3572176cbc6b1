"""The two searches: one study over all subjects (`inner`), or one per outer group (`nested`)."""

import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from rich.console import Console
from sklearn.model_selection import StratifiedGroupKFold

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from orchestration.folds.plan import Inputs, Plan, plan_of
from orchestration.search.driver import Findings, PlanFolds, SearchRun, SearchWorkers, StudyProgress
from orchestration.search.flags import TuneFlags
from orchestration.search.study import Study
from orchestration.search.winner import (
    WinnerFolds,
    nested_experiment,
    pooled_test_uf1,
    score_nested,
    score_winner,
    scores_by_part,
    train_winners,
)
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyLedger, StudyRecord
from results.statistics.importances import parameter_importances


class PlainSearch(SearchRun):
    """A study on the val parts of all folds; its winner is scored once per seed.

    With an official split no test label has any part in it. With LOSO a test subject is a
    training subject of other folds, so its labels had a part in choosing the settings: the record
    says `inner`, and the leaderboard that the search was not nested.
    """

    def trainings(self) -> tuple[Sequence[PlanFolds], Sequence[PlanFolds]]:
        """One study; then the winner with every seed but the base's, whose folds are trained."""
        every = [fold.name for fold in self.plan.folds]
        others = [seed for seed in self.flags.winner_seeds if seed != self.flags.base.seed]
        study = self.plan, self.study(self.plan).folds
        return [study], [(self._base(seed), every) for seed in others]

    def _base(self, seed: int) -> Plan:
        if seed == self.flags.base.seed:
            return self.plan
        # Only a control permutes labels, by the seed; its clips are those of the first seed.
        return plan_of(replace(self.flags.base, seed=seed), self.inputs)

    def run(self) -> Findings | None:
        """Search, train and score; None if the search is not finished."""
        progress = StudyProgress(self.flags, self.console)
        with progress:
            study = self.study(self.plan, progress)
            study.open()
            try:
                winners = self._search(study, progress)
                if winners is None:
                    return None
                experiments = tuple(winner.plan.experiment for winner in winners)
                return Findings((self._score(study, winners),), experiments)
            finally:
                study.close()

    def _search(self, study: Study, progress: StudyProgress) -> list[WinnerFolds] | None:
        """Run the trials and train the winner; None if the study is not finished."""
        workers = SearchWorkers(self.flags, f"search-{study.name}", progress)
        try:
            if not workers.search(study):
                return None
            values, winners = study.winner_values(), []
            for seed in self.flags.winner_seeds:
                winner = WinnerFolds.of(self._base(seed), values, (), study.digest)
                ledger = Ledger(self.flags.ledger)
                ledger.set_damage_aside(winner.plan.experiment)
                missing = ledger.missing(winner.plan.experiment)
                winners.append(replace(winner, folds=missing))
            train_winners(winners, workers.service, self.flags.ledger)
            return winners
        finally:
            workers.close()

    def _score(self, study: Study, winners: list[WinnerFolds]) -> StudyRecord:
        ledger = self.flags.ledger
        for winner in winners:
            score_winner(winner.plan, ledger, study.digest)
        record = study.store(tuple(w.plan.experiment.digest for w in winners))
        self.say_winner(study)
        if importances := parameter_importances(record):
            shares = ", ".join(f"{name} {share:.2f}" for name, share in importances.items())
            self.say(f"importances (PED-ANOVA): {shares}")
        every = [scores_by_part(winner.plan.experiment, ledger) for winner in winners]
        for part in every[0]:
            name, scores = part or "test", [by_part[part] for by_part in every]
            for winner, one in zip(winners, scores, strict=True):
                self.say(
                    f"{name}, seed {winner.plan.config.seed}: "
                    f"UF1 {one['uf1']:.4f}, UAR {one['uar']:.4f}"
                )
            if len(winners) > 1:
                self.say(f"{name}: {_over_seeds(scores, 'uf1')}, {_over_seeds(scores, 'uar')}")
        if self.plan.config.data.protocol == "loso":
            best = study.best()
            assert best is not None
            self.say(
                f"val UF1 of the winner {best.values[0]:.4f} is optimistic: it was chosen for it. "
                "Its test UF1 is not nested either: every subject's labels had a part in the "
                "choice (--selection nested)"
            )
        return record


def _over_seeds(scores: Sequence[Mapping[str, float]], name: str) -> str:
    values = [one[name] for one in scores]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return f"{name.upper()} {mean:.4f} +- {deviation:.4f} over {len(values)} seeds"


class NestedSearch(SearchRun):
    """One study per outer group of subjects; then every fold is trained with its group's winner.

    Every subject is tested by the LOSO fold that leaves it out, with the settings that a study of
    the subjects outside its group found. The scores are therefore comparable with those of any
    other LOSO run, and no label of a test subject had a part in its settings, its epoch or its
    weights.
    """

    def __init__(self, flags: TuneFlags, inputs: Inputs, console: Console) -> None:
        super().__init__(flags, inputs, console)
        self.groups = outer_groups(self.plan.dataset.clips, flags.outer_groups, flags.base.seed)

    def describe(self) -> None:
        """Print what is searched, on which data, and the size of the outer groups."""
        super().describe()
        sizes = ", ".join(str(len(group)) for group in self.groups)
        self.say(f"{len(self.groups)} outer groups of {sizes} subjects")

    def _outer(self) -> Iterator[tuple[str, tuple[str, ...], Plan]]:
        """Name and subjects of a group, and the plan without them; each plan copies flows."""
        for number, group in enumerate(self.groups, start=1):
            plan = plan_of(self.flags.base, self.inputs.without(group))
            yield f"{number} of {len(self.groups)}", group, plan

    def trainings(self) -> tuple[Sequence[PlanFolds], Sequence[PlanFolds]]:
        """A study per group; then every fold of the whole set."""
        studies = [(plan, self.study(plan, group=name).folds) for name, _, plan in self._outer()]
        return studies, [(self.plan, [fold.name for fold in self.plan.folds])]

    def run(self) -> Findings | None:
        """Search, train and score; None if the search is not finished."""
        ledger, planned = self.flags.ledger, self.plan.experiment
        records: list[StudyRecord] = []
        winners: list[WinnerFolds] = []
        progress = StudyProgress(self.flags, self.console)
        with progress:
            name = f"search-{planned.dataset}-{planned.digest}"
            workers = SearchWorkers(self.flags, name, progress)
            try:
                for group, subjects, plan in self._outer():
                    progress.say(f"outer group {group}: {', '.join(subjects)} left out")
                    study = self.study(plan, progress, group)
                    study.open()
                    try:
                        if not workers.search(study):
                            return None
                        # The winner is trained on other subjects, so these weights are useless.
                        study.release_weights()
                        values = study.winner_values()
                        self.say_winner(study)
                        records.append(study.record())
                    finally:
                        study.close()
                    winners.append(WinnerFolds.of(self.plan, values, subjects, study.digest))
                winner_of = {fold: winner for winner in winners for fold in winner.folds}
                experiment = nested_experiment(self.plan, winner_of, self._search_settings())
                Ledger(ledger).set_damage_aside(experiment)
                missing = set(Ledger(ledger).missing(experiment))
                to_train = [
                    replace(winner, folds=tuple(fold for fold in winner.folds if fold in missing))
                    for winner in winners
                ]
                train_winners(to_train, workers.service, ledger)
            finally:
                workers.close()
        score_nested(experiment, winner_of, ledger)
        studies = tuple(record.replace(scored=(experiment.digest,)) for record in records)
        for study_record in studies:
            StudyLedger(ledger).put(study_record)
        self._say_estimates(records, pooled_test_uf1(experiment, ledger))
        return Findings(studies, (experiment,))

    def _search_settings(self) -> dict[str, object]:
        """The settings of the studies, for the nested experiment's configuration."""
        return {
            "space": self.space.name,
            "pruning": self.flags.pruning,
            "folds_per_trial": self.flags.folds_per_trial,
            "outer_groups": [list(group) for group in self.groups],
        }

    def _say_estimates(self, records: list[StudyRecord], nested: float) -> None:
        best = [record.best.values[0] for record in records if record.best and record.best.values]
        estimate = statistics.fmean(best)
        self.say(f"not nested: UF1 {estimate:.4f}, val UF1 of the winners, mean of the groups")
        self.say(f"nested: UF1 {nested:.4f}, on subjects that no part of the search saw")
        self.say(f"gap {estimate - nested:+.4f}")


def outer_groups(clips: pd.DataFrame, number: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Divide the subjects into groups with similar numbers of clips and of each class.

    Args:
        clips: one row per clip: subject, label.
        number: G, groups.
        seed: of the experiment.

    Returns:
        G tuples of subjects, sorted; every subject in exactly one.

    Raises:
        DadnetError: if there are fewer than 2 groups, or fewer than 3 subjects would be left.
    """
    num_subjects = clips["subject"].nunique()
    if number < 2 or num_subjects - -(-num_subjects // number) < 3:
        raise DadnetError(
            f"outer_groups: expected 2 or more that leave at least 3 of {num_subjects} subjects, "
            f"got {number}"
        )
    # Sorted, so that the groups do not depend on the order of the rows.
    clips = clips.sort_values(["subject", "label"], kind="stable")
    subjects = clips["subject"].to_numpy()
    splitter = StratifiedGroupKFold(
        number, shuffle=True, random_state=seed_hash("outer groups", seed) % 2**32
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        try:
            splits = list(splitter.split(clips, clips["label"].to_numpy(), subjects))
        except ValueError as error:  # no class, or no set of labels, has as many clips
            raise DadnetError(f"outer_groups: {error}") from error
    groups = tuple(tuple(sorted(set(subjects[np.asarray(test)]))) for _, test in splits)
    if not all(groups):
        raise DadnetError(f"outer_groups: {number} leave a group without a subject; expected fewer")
    return groups
