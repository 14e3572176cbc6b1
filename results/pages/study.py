"""The page of a study: Optuna's figures and a table of its trials, in one file.

Plotly's script lies in the page itself, so that it needs no network. It builds functions and
style sheets at run time, which the page's content security policy has to admit; a page holds
figures that this package made and nothing that anybody else typed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, Literal

import optuna
from optuna import visualization
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from results.ledger.studies import StudyRecord, TrialRow

_DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
# Two trials are too few for a plot of a parameter.
_FEWEST = 3


def plotly_script() -> str:
    """Return the text of Plotly's script."""
    import plotly.offline  # only for pages, not for the importances

    return str(plotly.offline.get_plotlyjs())


def figures(record: StudyRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return titles and figures (Plotly's JSON) of a study; those that its trials give."""
    study, made = as_optuna(record), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of its figures experimental
        for title, make in _figures(record, study).items():
            made.append((title, _styled(make())))
    return made


def _figures(record: StudyRecord, study: optuna.Study) -> dict[str, Callable[[], Any]]:
    shares, names = parameter_importances(record), _varied(record)
    # With two objectives Optuna has to know which one to show.
    target = _uf1 if len(record.objectives) > 1 else None
    chosen: dict[str, Any] = {"target": target, "target_name": "val UF1"}
    makers: dict[str, Callable[[], Any]] = {}
    if record.best is not None:
        makers["History"] = lambda: visualization.plot_optimization_history(study, **chosen)
    if len(record.objectives) > 1 and record.best is not None:
        makers["Pareto front"] = lambda: visualization.plot_pareto_front(study)
    if shares:
        makers["Importances (PED-ANOVA)"] = lambda: visualization.plot_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=list(shares), **chosen
        )
    if names:
        makers["Slices"] = lambda: visualization.plot_slice(study, params=names, **chosen)
    if common := _common(record, names):
        makers["Parallel coordinates"] = lambda: visualization.plot_parallel_coordinate(
            study, params=common, **chosen
        )
    if (pair := {"alignment_weight", "num_projections"}) <= set(names):
        makers["Weight and projections of the alignment"] = lambda: visualization.plot_contour(
            study, params=sorted(pair), **chosen
        )
    if any(row.reports for row in record.trials):
        makers["What the pruning rule saw"] = lambda: visualization.plot_intermediate_values(study)
    return makers


def _uf1(trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[0])


def _complete(record: StudyRecord) -> list[TrialRow]:
    return [row for row in record.trials if row.state == "COMPLETE"]


def _varied(record: StudyRecord) -> list[str]:
    """Parameters with different values in at least a few complete trials."""
    rows = _complete(record)
    names = sorted({name for row in rows for name in row.params})
    values = {name: [row.params[name] for row in rows if name in row.params] for name in names}
    return [n for n in names if len(values[n]) >= _FEWEST and len(set(map(str, values[n]))) > 1]


def _common(record: StudyRecord, names: list[str]) -> list[str]:
    """Of some parameters those that most complete trials have; the others leave trials out."""
    rows = _complete(record)
    return [name for name in names if 2 * sum(name in row.params for row in rows) >= len(rows)]


def _styled(figure: Any) -> dict[str, Any]:
    figure.update_layout(title=None, margin={"l": 60, "r": 20, "t": 30, "b": 50}, template="none")
    figure.update_yaxes(automargin=True)
    made: dict[str, Any] = json.loads(figure.to_json())
    return made


def figures_script(made: list[tuple[str, dict[str, Any]]]) -> str:
    """Return the script that draws the figures into the elements ``figure-1``, ..."""
    calls = ["const options = {displaylogo: false, responsive: true};"]
    for number, (_, figure) in enumerate(made, start=1):
        data = json.dumps([figure["data"], figure["layout"]], sort_keys=True)
        data = data.replace("</", "<\\/").replace("<!--", "<\\!--")
        calls.append(f'Plotly.newPlot("figure-{number}", ...{data}, options);')
    return "\n".join(calls)


def as_optuna(record: StudyRecord) -> optuna.Study:
    """The study in memory: for Optuna's figures, not to go on with."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=_DIRECTIONS[: len(record.objectives)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(record.objectives))
    for row in record.trials:
        study.add_trial(_frozen(row))
    return study


def _frozen(row: TrialRow) -> optuna.trial.FrozenTrial:
    distributions = {
        name: optuna.distributions.json_to_distribution(text)
        for name, text in row.distributions.items()
    }
    return optuna.trial.create_trial(
        state=TrialState[row.state],
        values=None if row.values is None else list(row.values),
        params=dict(row.params),
        distributions=distributions,
        intermediate_values=dict(row.reports),
        user_attrs={"num_folds": row.num_folds, "val_uf1": row.val_uf1},
    )


def parameter_importances(record: StudyRecord) -> dict[str, float]:
    """Share of each parameter in what makes a trial good, by PED-ANOVA (Watanabe et al. 2023).

    Conditional parameters count where at least half of the complete trials have them; the others
    trials are then left out.

    Returns:
        Parameter -> share, largest first, sum 1; empty with fewer than four complete trials or if
        all are equal.
    """
    rows = _complete(record)
    if len({row.values[0] for row in rows if row.values}) < 4:
        return {}
    common = _common(record, sorted({name for row in rows for name in row.params}))
    chosen = [row for row in rows if set(common) <= set(row.params)]
    varied = [name for name in common if len({str(row.params[name]) for row in chosen}) > 1]
    if len(chosen) < 4 or not varied:
        return {}
    study = as_optuna(record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        importances = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            params=varied,
            target=None if len(record.objectives) == 1 else lambda trial: trial.values[0],
        )
    return {name: float(share) for name, share in importances.items()}
