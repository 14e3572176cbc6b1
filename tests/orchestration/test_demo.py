"""The demo as a user runs it, and what it must show."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import demo, run_loso
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run_demo(out: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.demo", "--out", str(out), *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert "12 of 12" not in run_demo(folder)
    return folder


def rows(ledger: Path) -> dict:
    [group] = leaderboard(ledger).groups
    return {row.experiment.method: row for row in group.rows}


def test_both_models_are_ranked_over_all_subjects(out):
    found = rows(out / "runs")
    assert set(found) == {"DAD-Net (ultralight/ultralight)", "MicroFlowNeXt (ultralight)"}
    for row in found.values():
        assert row.complete
        assert row.rank in (1, 2)
        assert row.summary.uf1.interval.low > 1 / 3
    pages = {p.suffix for p in (out / "site").iterdir()}
    assert {".html", ".csv", ".json", ".md"} <= pages


def test_given_again_no_fold_starts_and_no_byte_changes(out):
    def state() -> dict[Path, bytes]:
        # The stamp is there from the second time on: a ledger that has just changed leaves none.
        files = [p for p in out.rglob("*") if not p.name.startswith(".")]
        return {p: p.read_bytes() for p in files if p.suffix in (".json", ".html", ".md")}

    before = state()
    assert run_demo(out).count("12 of 12 folds are in") == 3  # two models and the control
    assert state() == before


def test_shuffled_labels_stay_at_chance_and_below_the_real_ones(out):
    ledger = out / "shuffled"
    words = ["--flows", str(out / "flows/synthetic"), "--ledger", str(ledger), "--workers", "0"]
    words += ["--macro-weights", str(out / "teacher.safetensors"), "--shuffle-labels"]
    words += ["--epochs", "20"]
    assert run_loso.main(words) == 0
    [shuffled] = rows(ledger).values()
    assert "labels shuffled" in shuffled.experiment.method
    chance = 1 / 3
    assert shuffled.summary.uf1.interval.low <= chance + 0.05
    assert shuffled.summary.uf1.value < 0.45
    real = rows(out / "runs")["DAD-Net (ultralight/ultralight)"]
    assert real.summary.uf1.value > shuffled.summary.uf1.interval.high


def test_every_record_names_its_audit_and_teacher(out):
    ledger = Ledger(out / "runs")
    for experiment in ledger.experiments():
        for record in ledger.records(experiment):
            assert record.audit.startswith("audit passed: 12 folds")
            assert (record.teacher_digest is None) == ("MicroFlowNeXt" in experiment.method)


def test_the_guide_names_pages_that_are_there_and_says_what_was_found(out):
    said = demo.guide(out)
    pages = [Path(word.rstrip(";")) for word in said.split() if ".html" in word]
    assert len(pages) == 3
    assert all(page.is_file() for page in pages)
    assert re.search(r"UF1 of DAD-Net minus its student alone: [+-]0\.\d{3}, 95 % interval", said)
    assert re.search(r"with shuffled labels UF1 is 0\.\d{3}", said)


def test_the_steps_are_commands_that_a_user_can_type():
    commands = demo.steps(demo.DemoFlags())
    modules = [step.module for step in commands]
    assert modules.count("orchestration.ingest") == 2
    assert modules[-1] == "results"
    assert json.dumps([step.words for step in commands])


def test_two_rivals_join_the_board_with_paired_tests(out):
    run_demo(out, "--baselines")
    found = rows(out / "runs")
    assert {"STSTNet", "MDMO-like + linear SVM"} < set(found)
    assert all(row.complete and row.rank for row in found.values())
    compared = [row.p_best for row in found.values() if row.rank > 1]
    assert len(compared) >= 2
    assert all(p is not None and 0 < p <= 1 for p in compared)
