"""The page of one experiment."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from results.leaderboard.comparable import diverged_folds, mixed_versions
from results.leaderboard.names import names_in
from results.leaderboard.rows import Row
from results.leaderboard.settings import preset_text
from results.ledger.events import read_events
from results.ledger.explanation import read_explanation
from results.ledger.features import read_features
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord, Prediction
from results.ledger.studies import StudyLedger
from results.pages import plots
from results.pages.maps import (
    clip_map,
    hardest,
    map_of_features,
    map_of_probabilities,
    probability_of_truth,
)
from results.pages.rendering import page_name, render
from results.pages.reproduce import environment, made_when, reproduce, shown_path
from results.statistics.tallies import read_tallies

if TYPE_CHECKING:
    from results.pages.explanation import Shown

NUM_HARDEST = 12


def row_of(ledger: Ledger, experiment: Experiment) -> Row:
    """Return the experiment as a row outside any leaderboard."""
    (tallies,) = read_tallies(ledger, [experiment])
    studies = StudyLedger(ledger.local_root).of(experiment)
    return Row(
        experiment,
        tallies.num_done,
        tallies.summary,
        tallies.counts,
        studies=studies,
        name=names_in(ledger)[experiment.digest],
        preset=preset_text(experiment),
        made=tallies.made,
        notes=(*diverged_folds(ledger, experiment), *mixed_versions(tallies.versions)),
    )


def run_page_name(experiment: Experiment) -> str:
    """Return the file name of an experiment's page."""
    return f"run-{experiment.digest}.html"


def robustness_page_name(experiments: Sequence[Experiment]) -> str:
    """Return the file name of the page of these experiments under corruptions."""
    return f"robustness-{'-'.join(experiment.digest for experiment in experiments)}.html"


def _has_robustness(ledger: Ledger, row: Row) -> bool:
    uf1 = None if row.summary is None else row.summary.uf1.value
    # With a UF1 of 0 there is no ratio to show.
    return bool(uf1) and any(ledger.local_folder(row.experiment).glob("robustness/*/*.json"))


def render_own_robustness(ledger: Ledger, row: Row, standalone: bool = False) -> str | None:
    """Return the page of an experiment under corruptions; None if nothing was scored."""
    if not _has_robustness(ledger, row):
        return None
    from results.pages import robustness  # OpenCV only when needed

    read = robustness.read_robustness(ledger.local_root, row.experiment)
    return robustness.render_robustness([read], standalone)


def render_run(
    ledger: Ledger, row: Row, flows: Path | None = None, standalone: bool = False
) -> str:
    """Return the page of one experiment.

    Args:
        ledger: where its folds are.
        row: of the leaderboard.
        flows: flow store of its data, for pictures of the hardest clips.
        standalone: the page needs no file beside it.
    """
    experiment = row.experiment
    records = ledger.records(experiment)
    rows = [prediction for record in records for prediction in record.predictions]
    features = read_features(ledger, experiment)
    events = read_events(ledger, experiment)
    stages = sorted({n for r in records for n in r.curves if n.startswith("alignment_stage_")})
    locations = map_of_features(features) if features else map_of_probabilities(rows)
    figures = {
        "losses": plots.curves(records, ("train_loss", "val_log_loss"), "loss"),
        "scores": plots.curves(records, ("val_uf1", "val_uar"), "on the validation subjects"),
        "alignment": plots.curves(records, stages or ("alignment",), "alignment loss"),
        "epochs": plots.chosen_epochs(records),
        "time": plots.time_line(records, events),
        "map": clip_map(rows, locations, experiment.classes),
    }
    subjects = subject_rows(records)
    shown = _explanation(ledger, experiment, rows)
    worst = hardest(rows, experiment.classes, NUM_HARDEST)
    robust = robustness_page_name([experiment]) if _has_robustness(ledger, row) else None
    return render(
        "run.html.j2",
        plots={**figures, **(shown.plots if shown else {})},
        kind="explanation" if shown else "run",
        of=experiment.dataset,
        standalone=standalone,
        explained=shown,
        row=row,
        records=records,
        leaderboard_page=f"{page_name(experiment.dataset)}.html",
        has_stages=bool(stages),
        has_features=bool(features),
        has_events=bool(events),
        num_retries=sum(event["event"] in ("returned", "failed") for event in events),
        hardest=_hardest_rows(worst, experiment, flows),
        has_flows=flows is not None,
        wheel=wheel_of(flows),
        subjects=subjects,
        subjects_csv=base64.b64encode(subject_csv(subjects).encode()).decode(),
        made=made_when(records),
        log_loss_of_chance=math.log(2 if experiment.multi_label else len(experiment.classes)),
        robustness_page=robust,
        environment=environment(records),
        config=experiment.settings,
        command=reproduce(
            experiment,
            max((len(s.trials) for s in row.studies), default=None),
            flows=None if flows is None else shown_path(flows),
            ledger=shown_path(ledger.root),
        ),
        audits=sorted({record.audit for record in records}),
    )


def _explanation(
    ledger: Ledger, experiment: Experiment, rows: Sequence[Prediction]
) -> Shown | None:
    explanation = read_explanation(ledger, experiment)
    if explanation is None:
        return None
    from results.pages.explanation import show  # pyarrow only when needed

    return show(explanation, rows, experiment.classes)


def pictures_of(flows: Path | None, clip_ids: Sequence[str]) -> dict[str, str]:
    """Return pictures of flows in base64, by clip; none without a flow store."""
    if flows is None:
        return {}
    from results.pages.flow_picture import flow_pictures  # pyarrow and OpenCV only when needed

    found = flow_pictures(flows, clip_ids)
    return {name: base64.b64encode(picture).decode() for name, picture in found.items()}


def wheel_of(flows: Path | None) -> str | None:
    """Return the key to the colours of the pictures, in base64; None without a flow store."""
    if flows is None:
        return None
    from results.pages.flow_picture import wheel_picture

    return base64.b64encode(wheel_picture()).decode()


def _hardest_rows(
    rows: list[Prediction], experiment: Experiment, flows: Path | None
) -> list[tuple[Prediction, str, str | None]]:
    pictures = pictures_of(flows, [row.clip_id for row in rows])
    shown = []
    for row in rows:
        known = probability_of_truth(row, experiment.classes)
        share = "\N{EN DASH}" if known is None else f"{known:.3f}"
        shown.append((row, share, pictures.get(row.clip_id)))
    return shown


@dataclass(frozen=True)
class SubjectRow:
    """One subject in the table of a run page.

    Attributes:
        subject: its name.
        clips, right: decisions about its clips, and how many are right.
        epoch: the chosen one of its fold; val_uf1: of that fold's validation subjects there.
        seconds: of training its fold; worker: who made it, by number.
    """

    subject: str
    clips: int
    right: int
    epoch: int | None
    val_uf1: float | None
    seconds: float | None
    worker: str


def subject_rows(records: Sequence[FoldRecord]) -> list[SubjectRow]:
    """Return a row per test subject, in the order of the folds."""
    workers, rows = plots.worker_numbers(records), []
    for record in records:
        curve, epoch = record.curves.get("val_uf1", ()), record.chosen_epoch
        val = curve[epoch - 1] if epoch and epoch <= len(curve) else None
        seconds = record.host.get("seconds")
        worker = workers.get(str(record.host.get("worker", "")), "")
        for subject in dict.fromkeys(row.subject for row in record.predictions):
            clips = [row for row in record.predictions if row.subject == subject]
            right = sum(row.label == row.prediction for row in clips)
            rows.append(SubjectRow(subject, len(clips), right, epoch, val, seconds, worker))
    return rows


def subject_csv(rows: Sequence[SubjectRow]) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(SubjectRow))
    for row in rows:
        writer.writerow("" if value is None else value for value in astuple(row))
    return text.getvalue()
