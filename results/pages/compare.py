"""The page that compares two experiments, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dadnet.base.errors import DadnetError
from results.leaderboard.cells import UNKNOWN
from results.leaderboard.rows import Row
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, Prediction
from results.pages.plots import swings
from results.pages.rendering import page_name, render
from results.pages.run import pictures_of, row_of, wheel_of
from results.statistics.compare import Difference, difference

# Clips that changed with a picture of their flow.
MOST_PICTURES = 60


def compare_page_name(first: Experiment, second: Experiment) -> str:
    """Return the file name of the page."""
    return f"compare-{first.digest}-{second.digest}.html"


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


def render_compare(
    ledger: Ledger,
    first: Experiment,
    second: Experiment,
    flows: Path | None = None,
    standalone: bool = False,
) -> tuple[str, Difference]:
    """Return the page that compares two experiments, and their difference.

    Args:
        ledger: where their folds are.
        first, second: A and B.
        flows: flow store of their data, for pictures of the clips that changed.
        standalone: the page needs no file beside it.

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
    changed = _changed(*clips)
    subjects, values = _swings(rows[0], rows[1])
    what = "decisions" if first.multi_label else "clips"
    pictures = pictures_of(flows, [a.clip_id for a, _ in changed[:MOST_PICTURES]])
    page = render(
        "compare.html.j2",
        plots={"swings": swings(subjects, values, "A minus B, percentage points")},
        of=first.dataset if first.dataset == second.dataset else "",
        standalone=standalone,
        rows=rows,
        names=[row.name for row in rows],
        differing=differing_settings(first, second),
        leaderboard_page=f"{page_name(first.dataset)}.html",
        compared=compared,
        honest=[first.protocol, first.class_set] == [second.protocol, second.class_set],
        changed=changed,
        pictures=pictures,
        wheel=wheel_of(flows),
        swings=list(zip(subjects, values, strict=True)),
        what=what,
        won=sum(a.label == a.prediction for a, _ in changed),
        lost=sum(b.label == b.prediction for _, b in changed),
        num_clips=len(clips[0]),
    )
    return page, compared


def _changed(
    one: Mapping[str, Prediction], other: Mapping[str, Prediction]
) -> list[tuple[Prediction, Prediction]]:
    """Return the clips with different answers; those that one of the two got right come first."""
    pairs = [(one[name], other[name]) for name in sorted(one)]
    pairs = [(a, b) for a, b in pairs if a.prediction != b.prediction]
    return sorted(pairs, key=lambda pair: all(clip.label != clip.prediction for clip in pair))


def differing_settings(first: Experiment, second: Experiment) -> list[tuple[str, str, str]]:
    """Return (setting, A, B) of what differs; the source is that of the stored configurations."""
    one, two = _settings(first), _settings(second)
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return [(name, one.get(name, UNKNOWN), two.get(name, UNKNOWN)) for name in names]


def _settings(experiment: Experiment) -> dict[str, str]:
    shown: dict[str, Any] = {
        name: getattr(experiment, name)
        for name in ("method", "protocol", "class_set", "selection", "seed", "teacher_digest")
    }
    known = {name.replace("_", " "): str(value) for name, value in shown.items()}
    for name, value in experiment.settings:
        if name.rpartition(".")[2] not in shown:  # the selection is in the config too
            known[name] = value
    return known


def _swings(first: Row, second: Row) -> tuple[list[str], list[float]]:
    """Return the subjects and the change in their share of right clips, worst first, in %."""
    one, two = first.counts, second.counts
    swings = 100.0 * (one.num_right - two.num_right) / one.num_decisions
    shares = sorted(zip(swings.tolist(), one.subjects, strict=True))
    return [name for _, name in shares], [value for value, _ in shares]
