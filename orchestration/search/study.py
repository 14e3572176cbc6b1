"""A study: Optuna's storage, and the bookkeeping that loses no trial.

Ray's OptunaSearch marks a pruned trial as complete, and leaves a trial with NaN, or one that was
running when the driver died, RUNNING for ever. Optuna is therefore used directly: a trial that a
dead driver left RUNNING continues under its number, with its parameters, and its finished folds
are read from the ledger. With one trial at a time an interrupted study then equals an
uninterrupted one.
"""

import math
import warnings
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.config.presets import get_preset
from orchestration.folds.plan import Plan, with_config
from orchestration.search.settings import (
    SeededTPESampler,
    StudySettings,
    fold_order,
    make_pruner,
    study_digest,
)
from orchestration.search.storage import lock, open_storage, storage_url, trial_row
from orchestration.search.trial import Job, Proposal, Report, TrialFailedError
from results.ledger.files import STUDIES
from results.ledger.studies import StudyLedger, StudyRecord
from results.ledger.val_side import ValLedger
from search_spaces.space import apply_values

_DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")


class Study:
    """One search over one plan.

    Args:
        plan: of the base experiment: clips, folds and teacher of every trial.
        settings: how to search.
        ledger: folder of the ledger, or object storage.
        storage: Optuna's, or its URL; None for SQLite in the ledger's folder.
        say: prints one line.
        on_end: called with the number of trials that have ended; returns what the line of the
            last one says of the time left.
    """

    def __init__(
        self,
        plan: Plan,
        settings: StudySettings,
        ledger: Location,
        storage: str | BaseStorage | None = None,
        say: Callable[[str], None] = print,
        on_end: Callable[[int], str] | None = None,
    ) -> None:
        self.plan, self.settings, self.say = plan, settings, say
        self._on_end = on_end
        self.vals = ValLedger(ledger)
        self.folds = fold_order(plan, settings.folds_per_trial)
        self.digest = study_digest(plan, settings)
        self.name = f"{plan.experiment.dataset}-{settings.space.name}-{self.digest}"
        self._ledger = StudyLedger(ledger)
        self._where = storage if isinstance(storage, BaseStorage) else storage_url(ledger, storage)
        self._lock: ExitStack | None = None
        self._storage: BaseStorage | None = None
        self._trials: dict[int, optuna.Trial] = {}
        self.stopped: set[int] = set()  # trials that the rule stopped and that have not ended yet

    @property
    def epochs(self) -> int | None:
        """Epochs of a fold, if trials report by epoch."""
        return self.plan.config.optim.epochs if self.settings.pruning == "asha" else None

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        second = self.settings.second_objective
        return ("val_uf1",) if second == "none" else ("val_uf1", second)

    def open(self) -> None:
        """Open the storage, find the trials of a dead driver, enqueue the published recipe.

        Raises:
            DadnetError: if the storage cannot be used or another process runs this study.
        """
        self._lock = lock(self._ledger.folder(self.digest), "lock", wait=False)
        if self._lock is None:
            raise DadnetError(f"study {self.name} is being run by another process")
        try:
            self._ledger.check(self.digest)
            self._open_storage()
        except BaseException:
            self.close()
            raise

    def _open_storage(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Two studies that create the tables of a new storage at the same time would fail.
        gate = lock(self._ledger.root / STUDIES, "open.lock", wait=True)
        assert gate is not None
        with gate:
            self._storage = open_storage(self._where)
            self._study = optuna.create_study(
                storage=self._storage,
                sampler=SeededTPESampler(self.plan.config.seed, self.settings.num_startup),
                pruner=make_pruner(self.settings.pruning, self.plan.config.optim.epochs),
                study_name=self.name,
                directions=_DIRECTIONS[: len(self.objectives)],
                load_if_exists=True,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names(list(self.objectives))
        if not self._study.get_trials(deepcopy=False):
            self._enqueue_recipe()
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._interrupted = sorted(trial.number for trial in running)
        if self._interrupted:
            numbers = ", ".join(map(str, self._interrupted))
            self.say(f"continuing trial {numbers} of an interrupted search")

    def close(self) -> None:
        """Close the database and let another process run this study."""
        if self._storage is not None:
            self._storage.remove_session()
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def _enqueue_recipe(self) -> None:
        params_of = self.settings.space.params_of
        if params_of is None:
            self.say(
                f"space {self.settings.space.name} has no params_of: the published recipe is not "
                "among the trials"
            )
            return
        recipe = get_preset("reference-v2", self.plan.config.data)
        with warnings.catch_warnings():  # a value outside the space is refused by the space
            warnings.simplefilter("ignore", UserWarning)
            self._study.enqueue_trial(params_of(recipe))

    def enqueue(self, params: dict[str, Any]) -> None:
        """Make these parameters the next trial."""
        self._study.enqueue_trial(params)

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def finished(self) -> bool:
        """Whether all trials have ended and there are enough of them."""
        trials = self.trials()
        return len(trials) >= self.settings.num_trials and all(
            trial.state.is_finished() for trial in trials
        )

    def propose(self) -> Proposal | None:
        """The next trial; None if there are enough."""
        while (trial := self._next()) is not None:
            self._trials[trial.number] = trial
            try:
                values = self.settings.space.draw(trial)
                config = apply_values(self.plan.config, values)
                experiment = with_config(self.plan, config).experiment
            except Exception as error:  # a user's space fails, or its values are no experiment
                self.fail(trial.number, f"{type(error).__name__}: {error}")
                continue
            trial.set_user_attr("experiment", experiment.digest)
            trial.set_user_attr("values", values)
            self.vals.keep_weights(experiment, self.digest)
            name, base = f"{self.digest}/{trial.number}", self.plan.experiment.digest
            job = Job(name, base, values, experiment.digest)
            return Proposal(trial.number, job, experiment, self.folds)
        return None

    def _next(self) -> optuna.Trial | None:
        if self._interrupted:
            assert self._storage is not None
            study_id = self._storage.get_study_id_from_name(self.name)
            number = self._interrupted.pop(0)
            return optuna.Trial(
                self._study, self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            )
        trials = self.trials()
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if not waiting and len(trials) >= self.settings.num_trials:
            return None
        return self._study.ask()

    def report(self, number: int, report: Report) -> bool:
        """Store what a trial reports; True if the rule stops it.

        A trial that continues after a kill repeats steps that are stored already. The rule has
        decided about them, except about the last one.
        """
        if self.settings.pruning == "none":
            return False
        trial = self._trials[number]
        last = self.trials()[number].last_step or 0
        if report.step > last:
            trial.report(report.value, report.step)
        seen_all = report.num_folds == len(self.folds)  # stopping it would save nothing
        return report.step >= last and not seen_all and trial.should_prune()

    def complete(self, number: int, report: Report) -> None:
        """End a trial that has all its folds; without finite objectives it fails."""
        values = [report.val_uf1, *(getattr(report, name) for name in self.objectives[1:])]
        if not all(map(math.isfinite, values)):
            self.fail(number, f"the objective is not finite: {values}")
            return
        self._set(number, report)
        self._study.tell(self._trials[number], [float(value) for value in values])
        self._settle(number, f"complete: val UF1 {report.val_uf1:.4f}, {report.num_folds} folds")

    def prune(self, number: int, report: Report) -> None:
        """End a trial that the rule stopped; its partial estimate is stored with it."""
        self._set(number, report)
        self._study.tell(self._trials[number], state=TrialState.PRUNED)
        so_far = f"val UF1 {report.val_uf1:.4f} so far" if report.num_folds else "no estimate yet"
        self._settle(
            number, f"stopped after {report.num_folds} of {len(self.folds)} folds: {so_far}"
        )

    def fail(self, number: int, why: str) -> None:
        """End a trial that cannot have a value."""
        line = why.strip().splitlines()[-1][:500]
        self._trials[number].set_user_attr("why", line)
        self._study.tell(self._trials[number], state=TrialState.FAIL)
        self._settle(number, f"failed: {line}")

    def _set(self, number: int, report: Report) -> None:
        for name in ("num_folds", "seconds", "parameters"):
            self._trials[number].set_user_attr(name, getattr(report, name))
        if math.isfinite(report.val_uf1):
            self._trials[number].set_user_attr("val_uf1", report.val_uf1)

    def _settle(self, number: int, line: str) -> None:
        """Print the line, and drop the weights of every experiment that can no longer win."""
        trials, best = self.trials(), self.best()
        done = sum(trial.state.is_finished() for trial in trials)
        leader = f"; best {best.values[0]:.4f}, trial {best.number}" if best else ""
        left = self._on_end(done) if self._on_end else ""
        self.say(f"trial {number} {line} ({done}/{self.settings.num_trials}{leader}{left})")
        wanted = {best.user_attrs["experiment"]} if best else set()
        wanted |= {str(t.user_attrs.get("experiment")) for t in trials if not t.state.is_finished()}
        self.release_weights(wanted)

    def release_weights(self, wanted: Collection[str] = ()) -> None:
        """Drop the weights of all trials, except those of some experiments, by digest."""
        for trial in self.trials():
            digest = trial.user_attrs.get("experiment")
            if digest and digest not in wanted:
                trial_experiment = self.plan.experiment.replace(digest=digest)
                self.vals.release_weights(trial_experiment, self.digest)

    def best(self) -> FrozenTrial | None:
        """The complete trial with the highest UF1; among equals the first."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return min(complete, key=lambda t: (-t.values[0], t.number), default=None)

    def winner_values(self) -> dict[str, Any]:
        """What the best trial changes in the base experiment.

        Raises:
            TrialFailedError: if no trial is complete.
        """
        if (best := self.best()) is None:
            raise TrialFailedError(
                f"study {self.name}: none of its {len(self.trials())} trials is complete, so there "
                "is no winner; more trials (--num-trials) may find one"
            )
        values: dict[str, Any] = best.user_attrs["values"]
        return values

    def record(self, scored: tuple[str, ...] = ()) -> StudyRecord:
        """The study as the ledger keeps it, once all trials have ended."""
        best, experiment = self.best(), self.plan.experiment
        return StudyRecord(
            digest=self.digest,
            name=self.name,
            dataset=experiment.dataset,
            protocol=experiment.protocol,
            class_set=experiment.class_set,
            level=self.settings.level,
            group=self.settings.group,
            space=self.settings.space.name,
            num_subjects=int(self.plan.dataset.clips["subject"].nunique()),
            objectives=self.objectives,
            folds=self.folds,
            trials=tuple(trial_row(trial) for trial in self.trials()),
            winner=best.number if best else None,
            scored=scored,
        )

    def store(self, scored: tuple[str, ...] = ()) -> StudyRecord:
        """Write the study into the ledger."""
        record = self.record(scored)
        self._ledger.put(record)
        return record
