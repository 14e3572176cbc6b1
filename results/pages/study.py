"""The page of a study: Optuna's figures and a table of its trials, in one file.

Plotly's script lies in the page itself, so that it needs no network. It builds functions and
style sheets at run time, which the page's content security policy has to admit; a page holds
figures that this package made and nothing that anybody else typed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import plotly.offline
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator

from results.ledger.studies import StudyRecord, TrialRow
from results.pages.importance import as_optuna, parameter_importances

# Two trials make no picture of a parameter.
_FEWEST = 3


def plotly_script() -> str:
    """Return the text of Plotly's script."""
    return str(plotly.offline.get_plotlyjs())


def figures(record: StudyRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return titles and figures (Plotly's JSON) of a study; those that its trials give."""
    study, made = as_optuna(record), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of its figures experimental
        for title, make in _figures(record, study):
            made.append((title, _styled(make())))
    return made


def _figures(record: StudyRecord, study: optuna.Study) -> list[tuple[str, Callable[[], Any]]]:
    shares, names = parameter_importances(record), _varied(record)
    # With one objective Optuna knows which way is up; with two it has to be told which one.
    target = _uf1 if len(record.objectives) > 1 else None
    chosen: dict[str, Any] = {"target": target, "target_name": "val UF1"}
    found: list[tuple[str, Callable[[], Any]]] = []
    if record.best is not None:
        found.append(("History", lambda: visualization.plot_optimization_history(study, **chosen)))
    if len(record.objectives) > 1 and record.best is not None:
        found.append(("Pareto front", lambda: visualization.plot_pareto_front(study)))
    if shares:
        found.append(
            (
                "Importances (PED-ANOVA)",
                lambda: visualization.plot_param_importances(
                    study, evaluator=PedAnovaImportanceEvaluator(), params=list(shares), **chosen
                ),
            )
        )
    if names:
        found.append(("Slices", lambda: visualization.plot_slice(study, params=names, **chosen)))
    if common := _common(record, names):
        found.append(
            (
                "Parallel coordinates",
                lambda: visualization.plot_parallel_coordinate(study, params=common, **chosen),
            )
        )
    if {"alignment_weight", "num_projections"} <= set(names):
        found.append(
            (
                "Weight and projections of the alignment",
                lambda: visualization.plot_contour(
                    study, params=["alignment_weight", "num_projections"], **chosen
                ),
            )
        )
    if any(row.reports for row in record.trials):
        found.append(
            ("What the pruning rule saw", lambda: visualization.plot_intermediate_values(study))
        )
    return found


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
