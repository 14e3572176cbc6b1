"""Retention curves from corrupted folds: figures by hand, nothing over survivors, on the site."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dadnet.base.errors import DadnetError
from dadnet.flow.corruptions import KINDS, VERSION
from results.__main__ import main
from results.ledger.corrupted import CorruptedFold, RobustnessLedger
from results.ledger.ledger import LedgerWarning
from results.pages.robustness import read_robustness, render_robustness
from tests.build.records import build_experiment, build_record

# Two clips of each class per subject; clean, every answer of a, b, c and d but one is right.
CLEAN = {name: ["n>n", "n>n", "p>p", "p>p", "s>s", "s>s"] for name in ("s/a", "s/b", "s/c")}
CLEAN["s/d"] = ["n>p", "n>n", "p>p", "p>p", "s>s", "s>s"]
# Blurred, c says surprise to everything.
BLURRED = {**CLEAN, "s/c": [f"{clip[0]}>s" for clip in CLEAN["s/c"]]}


def f1(hits: int, truths: int, given: int) -> float:
    return 2 * hits / (truths + given)


def uf1(columns: list[tuple[int, int, int]]) -> float:
    return sum(f1(*column) for column in columns) / len(columns)


# hits, clips and answers of each class
CLEAN_UF1 = uf1([(7, 8, 7), (8, 8, 9), (8, 8, 8)])
BLURRED_UF1 = uf1([(5, 8, 5), (6, 8, 7), (8, 8, 12)])


@pytest.fixture
def robust(ledger):
    """A ledger with the clean experiment, and a function that stores a corruption of it."""
    experiment = build_experiment(CLEAN)
    ledger.open(experiment)
    host = {"weights_digest": "w" * 16}
    records = {f: build_record(experiment, f, clips, host=host) for f, clips in CLEAN.items()}
    for record in records.values():
        ledger.put(experiment, record)
    kept = RobustnessLedger(ledger.root)

    def store(kind: str, severity: float, table=BLURRED, without=()):
        for fold, clips in table.items():
            if fold not in without:
                rows = build_record(experiment, fold, clips).predictions
                scored = CorruptedFold(
                    experiment.digest, fold, "w" * 16, kind, severity, VERSION, rows, {}
                )
                assert kept.put(experiment, records[fold], scored)

    return ledger, experiment, store


def test_retention_is_the_ratio_of_pooled_figures_and_starts_at_one(robust):
    ledger, experiment, store = robust
    for severity in KINDS["blur"].severities:
        store("blur", severity, CLEAN if severity < 1 else BLURRED)
    found = read_robustness(ledger.root, experiment)
    [curve] = found.curves
    assert found.uf1 == pytest.approx(CLEAN_UF1)
    ratio = BLURRED_UF1 / CLEAN_UF1
    assert [p.retention for p in curve.points] == pytest.approx([1, 1, *[ratio] * 4])
    assert curve.mean == pytest.approx((1 + 4 * ratio) / 5)
    same, worse = curve.points[1].interval, curve.points[2].interval
    # The same answers: the ratio is 1 in every resample, however UF1 itself spreads.
    assert (same.low, same.high) == (1, 1)
    assert worse.low < ratio < worse.high <= 1


def test_a_corruption_without_all_folds_has_no_point(robust):
    ledger, experiment, store = robust
    store("blur", 0.5)
    store("blur", 1.0, without=("s/b",))
    found = read_robustness(ledger.root, experiment)
    assert [point.severity for point in found.curves[0].points] == [0, 0.5]
    assert ("blur-1", 3, 4) in found.missing
    assert ("blur-2.5", 0, 4) in found.missing


def test_a_corrupted_fold_of_other_weights_or_clips_does_not_count(robust):
    ledger, experiment, store = robust
    store("noise", 0.3)
    kept, record = RobustnessLedger(ledger.root), ledger.records(experiment)[0]
    scored = kept.get(experiment, record, "noise-0.3")
    assert CorruptedFold.from_json(scored.to_json()) == scored
    fewer = scored.replace(predictions=scored.predictions[1:])
    for wrong in (fewer, scored.replace(weights_digest="v" * 16), scored.replace(version=99)):
        with pytest.raises(DadnetError, match="expected those of the record"):
            kept.put(experiment, record, wrong)
    path = kept.path(experiment, record.fold, "noise-0.3")
    path.write_text(scored.replace(version=99).to_json() + "\n")
    with pytest.warns(LedgerWarning, match="version of the corrupted fold"):
        assert kept.get(experiment, record, "noise-0.3") is None
    with pytest.warns(LedgerWarning, match="was moved to"):
        assert kept.put(experiment, record, scored)
    assert kept.get(experiment, record, "noise-0.3") == scored


def test_the_site_has_the_page_and_notices_that_more_was_scored(robust, tmp_path, capsys):
    ledger, experiment, store = robust
    site = tmp_path / "site"
    words = ["leaderboard", "--ledger", str(ledger.root), "--out", str(site)]
    page, run = site / f"robustness-{experiment.digest}.html", f"run-{experiment.digest}.html"
    assert main(words) == 0
    assert not page.exists()
    assert page.name not in (site / run).read_text()
    store("blur", 0.5)
    assert main(words) == 0
    assert f'href="{page.name}"' in (site / run).read_text()
    text = page.read_text()
    assert f"{BLURRED_UF1 / CLEAN_UF1:.3f}" in text
    assert "blur-1 has 0 of 4 folds and no figure" in text
    first = page.read_bytes()
    assert main([*words, "--rebuild"]) == 0
    assert page.read_bytes() == first


def test_several_experiments_share_the_plots_and_keep_their_names_apart(robust, fill):
    ledger, experiment, store = robust
    store("blur", 0.5)
    one, other = read_robustness(ledger.root, experiment), fill(CLEAN, seed=1)
    two = replace(one, experiment=other)
    text = render_robustness([one, two])
    island = json.loads(text.split('id="plots">')[1].split("</script>")[0])
    names = [trace["name"] for trace in island["blur"]["data"]]
    assert names == [f"{e.method} {e.digest}" for e in (experiment, other)]
    assert [trace["y"][0] for trace in island["blur"]["data"]] == [1, 1]
    low = one.curves[0].points[1].interval.low
    assert island["blur"]["data"][0]["error_y"]["arrayminus"][1] == pytest.approx(
        one.curves[0].points[1].retention - low, abs=1e-4
    )


def test_nothing_is_kept_of_nothing(ledger, fill):
    experiment = fill({"s/a": ["n>p", "p>n"], "s/b": ["n>p", "s>n"]})
    with pytest.raises(DadnetError, match="clean UF1 of 0"):
        read_robustness(ledger.root, experiment)
