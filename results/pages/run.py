"""The page of one experiment, and the page that compares two."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dadnet.base.errors import DadnetError
from results.leaderboard.comparable import diverged_folds, mixed_versions
from results.leaderboard.names import names_in
from results.leaderboard.rows import Row
from results.leaderboard.settings import preset_text
from results.ledger.events import read_events
from results.ledger.explanation import read_explanation
from results.ledger.features import read_features
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, Prediction
from results.ledger.studies import StudyLedger
from results.pages import plots
from results.pages.maps import hardest, map_of_features, map_of_probabilities, probability_of_truth
from results.pages.rendering import page_name, render
from results.pages.reproduce import environment, reproduce
from results.statistics.compare import Difference, difference
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


def render_own_robustness(ledger: Ledger, row: Row) -> str | None:
    """Return the page of an experiment under corruptions; None if nothing was scored."""
    if not _has_robustness(ledger, row):
        return None
    from results.pages import robustness  # OpenCV only when needed

    read = robustness.read_robustness(ledger.local_root, row.experiment)
    return robustness.render_robustness([read])


def render_run(ledger: Ledger, row: Row, flows: Path | None = None) -> str:
    """Return the page of one experiment.

    Args:
        ledger: where its folds are.
        row: of the leaderboard.
        flows: flow store of its data, for pictures of the hardest clips.
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
        "map": plots.clip_map(rows, locations, experiment.classes),
    }
    shown = _explanation(ledger, experiment, rows)
    worst = hardest(rows, experiment.classes, NUM_HARDEST)
    robust = robustness_page_name([experiment]) if _has_robustness(ledger, row) else None
    return render(
        "run.html.j2",
        plots={**figures, **(shown.plots if shown else {})},
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
        robustness_page=robust,
        environment=environment(records),
        config=experiment.settings,
        command=reproduce(experiment, max((len(s.trials) for s in row.studies), default=None)),
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


def checked_difference(one: Row, other: Row) -> Difference:
    """Return the difference of two rows.

    Raises:
        DadnetError: if one is incomplete, or they did not score the same clips with one truth.
    """
    first, second = one.experiment, other.experiment
    for row in (one, other):
        if not row.complete:
            raise DadnetError(
                f"expected two complete experiments, got: {row.experiment.digest} with "
                f"{row.num_done} of {row.num_planned} folds"
            )
    if first.classes != second.classes:
        raise DadnetError(f"expected the same classes, got: {first.classes} and {second.classes}")
    if first.multi_label != second.multi_label:
        raise DadnetError(
            "expected two of one kind, got: one class of each clip and several labels "
            f"({first.class_set} and {second.class_set})"
        )
    return difference(one.counts, other.counts)


def render_compare(ledger: Ledger, first: Experiment, second: Experiment) -> tuple[str, Difference]:
    """Return the page that compares two experiments, and their difference.

    Raises:
        DadnetError: if one is incomplete, or they did not score the same clips.
    """
    rows = [row_of(ledger, experiment) for experiment in (first, second)]
    compared = checked_difference(*rows)
    clips = [
        {clip.clip_id: clip for record in ledger.records(e) for clip in record.predictions}
        for e in (first, second)
    ]
    if clips[0].keys() != clips[1].keys():
        raise DadnetError("expected two rows over the same clips, got: other clip names")
    if other := sum(clip.label != clips[1][name].label for name, clip in clips[0].items()):
        raise DadnetError(f"expected two rows with the same truth, got: another one for {other}")
    pairs = ((clips[0][name], clips[1][name]) for name in sorted(clips[0]))
    changed = [(a, b) for a, b in pairs if a.prediction != b.prediction]
    names, values = _swings(rows[0], rows[1])
    page = render(
        "compare.html.j2",
        plots={"swings": plots.swings(names, values, "right clips, A minus B, in %")},
        rows=rows,
        compared=compared,
        honest=[first.protocol, first.class_set] == [second.protocol, second.class_set],
        changed=changed,
        swings=list(zip(names, values, strict=True)),
        won=sum(a.label == a.prediction for a, _ in changed),
        lost=sum(b.label == b.prediction for _, b in changed),
        num_clips=len(clips[0]),
    )
    return page, compared


def _swings(first: Row, second: Row) -> tuple[list[str], list[float]]:
    """Return the subjects and the change in their share of right clips, worst first, in %."""
    one, two = first.counts, second.counts
    swings = 100.0 * (one.num_right - two.num_right) / one.num_decisions
    shares = sorted(zip(swings.tolist(), one.subjects, strict=True))
    return [name for _, name in shares], [value for value, _ in shares]


def _hardest_rows(
    rows: list[Prediction], experiment: Experiment, flows: Path | None
) -> list[tuple[Prediction, str, str | None]]:
    pictures: dict[str, bytes] = {}
    if flows is not None:
        from results.pages.flow_picture import flow_pictures  # pyarrow and OpenCV only when needed

        pictures = flow_pictures(flows, [row.clip_id for row in rows])
    shown = []
    for row in rows:
        known = probability_of_truth(row, experiment.classes)
        share = "\N{EN DASH}" if known is None else f"{known:.3f}"
        picture = pictures.get(row.clip_id)
        shown.append((row, share, base64.b64encode(picture).decode() if picture else None))
    return shown
