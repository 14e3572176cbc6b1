"""One experiment, or one search, of a ledger as an object for notebooks and scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dadnet.base.errors import DadnetError
from dadnet.base.location import Location
from dadnet.labels.tasks import text_of
from results.leaderboard.rows import Row
from results.ledger.ledger import Ledger
from results.ledger.mirror import readable
from results.ledger.records import Experiment, FoldRecord
from results.ledger.studies import StudyRecord
from results.pages import run as pages
from results.pages.compare import checked_difference
from results.pages.linking import add_page
from results.statistics.compare import Comparison
from results.statistics.summary import Score, Summary

if TYPE_CHECKING:
    import pandas as pd

Ends = tuple[float, float]
_DIGITS = "{:.3f}".format
_FIGURES = {"uf1": "UF1", "uar": "UAR", "accuracy": "accuracy"}


class _Shown:
    """What a notebook shows of an object: its line and its tables."""

    def _tables(self) -> list[pd.DataFrame]:
        raise NotImplementedError

    def show(self) -> None:
        """Show the figures: as tables in a notebook, else as text."""
        ipython = sys.modules.get("IPython")
        if ipython is not None and ipython.get_ipython() is not None:
            ipython.display.display(self)
        else:
            tables = (table.to_string(float_format=_DIGITS) for table in self._tables())
            print("\n\n".join([str(self), *tables]))

    def _repr_html_(self) -> str:
        tables = (table.to_html(float_format=_DIGITS) for table in self._tables())
        return f"<p>{escape(str(self))}</p>{''.join(tables)}"

    def __repr__(self) -> str:
        return str(self)


class Result(_Shown):
    """The finished folds of one experiment; figures exist once all folds are there.

    Args:
        ledger: folder of the ledger, or a URI.
        experiment: one of its experiments.
    """

    def __init__(self, ledger: str | Location, experiment: Experiment) -> None:
        self.ledger, self.experiment = ledger, experiment

    @cached_property
    def _ledger(self) -> Ledger:
        return readable(Ledger(self.ledger))

    @cached_property
    def _records(self) -> tuple[FoldRecord, ...]:
        return self._ledger.records(self.experiment)

    @cached_property
    def row(self) -> Row:
        """The experiment as a row outside any leaderboard."""
        return pages.row_of(self._ledger, self.experiment)

    @property
    def digest(self) -> str:
        """Name of the experiment: 16 hexadecimal digits."""
        return self.experiment.digest

    @property
    def complete(self) -> bool:
        """Whether every planned fold is finished."""
        return not self.missing

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the folds that are not finished."""
        done = {record.fold for record in self._records}
        return tuple(fold.name for fold in self.experiment.folds if fold.name not in done)

    @property
    def summary(self) -> Summary:
        """All pooled figures.

        Raises:
            DadnetError: if a fold is missing, since figures of the finished folds alone mislead.
        """
        if self.row.summary is None:
            folds = self.experiment.folds
            raise DadnetError(
                f"incomplete: {len(self.missing)} of {len(folds)} folds of {self.digest} are "
                "missing, so it has no figures; make the same call again to run them"
            )
        return self.row.summary

    @property
    def uf1(self) -> float:
        """Unweighted F1 of the counts of all folds; with several labels the macro F1."""
        return _defined("uf1", self.summary.uf1)

    @property
    def uar(self) -> float:
        """Unweighted average recall of the counts of all folds."""
        return _defined("uar", self.summary.uar)

    @property
    def accuracy(self) -> float:
        """Share of right clips.

        Raises:
            DadnetError: if clips have several labels, where it would be another quantity.
        """
        return _defined("accuracy", self.summary.accuracy)

    @property
    def interval(self) -> Ends | None:
        """95 % interval of `uf1` over subjects; None of one subject or of a row without errors."""
        return self.intervals["uf1"]

    @property
    def intervals(self) -> dict[str, Ends | None]:
        """95 % interval of each figure by its name."""
        return {name: _ends(getattr(self.summary, name)) for name in _FIGURES}

    @property
    def figures(self) -> pd.DataFrame:
        """UF1, UAR and accuracy with the ends of their intervals, one row each."""
        rows = []
        for name in _FIGURES:
            value, ends = getattr(self.summary, name).value, self.intervals[name]
            rows.append((value, *(ends or (None, None))))
        return _table(rows, list(_FIGURES.values()), ["value", "low", "high"], float)

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per scored clip, sorted by clip.

        Columns: clip (its id), subject, part, fold, truth, prediction, and for each class or label
        `prob_NAME`, where probabilities are known. Several labels are joined by "+".
        """
        rows: list[dict[str, Any]] = []
        for record in self._records:
            for clip in record.predictions:
                row = {
                    "clip": clip.clip_id,
                    "subject": clip.subject,
                    "part": clip.part,
                    "fold": record.fold,
                    "truth": text_of(clip.label),
                    "prediction": text_of(clip.prediction),
                }
                names = [f"prob_{name}" for name in self.experiment.classes]
                rows.append({**row, **dict(zip(names, clip.probabilities or (), strict=False))})
        rows.sort(key=lambda row: str(row["clip"]))
        return _table(rows)

    @property
    def confusion(self) -> pd.DataFrame:
        """Counts over all folds: a row per true class, a column per predicted one.

        With several labels a row per label: how often it was absent or present, and predicted so.
        """
        counts, classes = self.summary.confusion, list(self.experiment.classes)
        if not self.experiment.multi_label:
            return _table(counts, classes, classes, names=("truth", "prediction"))
        columns = ["true negative", "false positive", "false negative", "true positive"]
        flat = [[*absent, *present] for absent, present in counts]  # type: ignore[misc]
        return _table(flat, classes, columns, names=("label", None))

    def compare(self, other: Result) -> Comparison:
        """The paired difference in UF1: this experiment minus the other.

        Raises:
            DadnetError: if one is incomplete, or they did not score the same clips.
        """
        gap = checked_difference(self.row, other.row)
        if {*self.predictions["clip"]} != {*other.predictions["clip"]}:
            raise DadnetError("expected two rows over the same clips, got: other clip names")
        return Comparison.of(self.row.name, other.row.name, gap)

    def page(self, path: str | Path, flows: str | Path | None = None) -> Path:
        """Write the experiment's page, which opens offline; returns its path.

        Args:
            path: of the file.
            flows: flow store of its data, for pictures of the hardest clips.
        """
        store = None if flows is None else Path(flows)
        add_page(Path(path), pages.render_run(self._ledger, self.row, store, standalone=True))
        return Path(path)

    def __str__(self) -> str:
        experiment = self.experiment
        head = f"{experiment.method} on {experiment.dataset} ({experiment.protocol}, "
        head += f"{experiment.class_set}, selection {experiment.selection}, {self.digest})"
        if not self.complete:
            return f"{head}: incomplete, {len(self.missing)} of {len(experiment.folds)} missing"
        scores = (
            f"{label} {value:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")
            for (name, label), value in zip(_FIGURES.items(), self.figures["value"], strict=True)
            for ends in [self.intervals[name]]
            if value == value  # not NaN: accuracy of several labels is undefined
        )
        clips = f"{experiment.num_clips} clips, {len(experiment.folds)} folds"
        return f"{head}: {', '.join(scores)}; {clips}"

    def _tables(self) -> list[pd.DataFrame]:
        return [self.figures, self.confusion] if self.complete else []


class SearchResult(_Shown):
    """A finished search: its trials, the winner, and the winner's score on the test clips.

    Args:
        ledger: folder of the ledger, or a URI.
        studies: one, or one per outer group of a nested search.
        experiments: what was scored: the winner with each seed, or the nested estimate.
    """

    def __init__(
        self,
        ledger: str | Location,
        studies: tuple[StudyRecord, ...],
        experiments: tuple[Experiment, ...],
    ) -> None:
        self.studies = studies
        self.results = tuple(Result(ledger, experiment) for experiment in experiments)

    @property
    def result(self) -> Result:
        """The winner's result; with several seeds that of the first, `results` has all."""
        return self.results[0]

    @property
    def experiment(self) -> Experiment:
        """The winner's experiment; of a nested search the estimate over its groups' winners."""
        return self.result.experiment

    @property
    def winners(self) -> dict[str, Mapping[str, Any]]:
        """The winner's parameters of each study, by its outer group; "" where there is none."""
        return {study.group: study.best.params for study in self.studies if study.best is not None}

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: group, trial, state, figures, and its parameters by name."""
        rows = [
            {
                "group": study.group,
                "trial": trial.number,
                "state": trial.state,
                "val_uf1": trial.val_uf1,
                "folds": trial.num_folds,
                "seconds": trial.seconds,
                "winner": trial.number == study.winner,
                "experiment": trial.experiment,
                **trial.params,
            }
            for study in self.studies
            for trial in study.trials
        ]
        return _table(rows)

    def __str__(self) -> str:
        trials = sum(len(study.trials) for study in self.studies)
        return f"{len(self.studies)} studies, {trials} trials; {self.result}"

    def _tables(self) -> list[pd.DataFrame]:
        return [*self.result._tables(), self.trials]


def _table(
    rows: Any,
    index: list[str] | None = None,
    columns: list[str] | None = None,
    dtype: type | None = None,
    names: tuple[str | None, str | None] = (None, None),
) -> pd.DataFrame:
    import pandas as pd  # only when needed: the commands do without it

    table: pd.DataFrame = pd.DataFrame(rows, index, columns, dtype)
    table.index.name, table.columns.name = names
    return table


def _defined(name: str, score: Score) -> float:
    if score.value is None:
        raise DadnetError(f"{name}: it is not defined for these clips and labels")
    return score.value


def _ends(score: Score) -> Ends | None:
    low, high = score.interval.low, score.interval.high
    return None if low is None or high is None else (low, high)
