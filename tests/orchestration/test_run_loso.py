import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dadnet.datasets.index import INDEX_COLUMNS
from dadnet.flow.store import load_flow_store
from orchestration import run_loso
from orchestration.folds.flags import parse_flags
from orchestration.folds.plan import load_inputs
from results.__main__ import main as results_main
from results.ledger.features import read_features
from results.ledger.ledger import Ledger
from results.pages.maps import map_of_features
from tests.build.flows import make_clips, write_store
from tests.build.runs import ledger_content, run_words


@pytest.fixture(scope="module")
def finished(site, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("finished") / "runs"
    assert run_loso.main(run_words(site, ledger, "--workers", "0")) == 0
    return ledger


def test_every_subject_is_tested_once_with_its_own_clips(finished, site):
    content = ledger_content(finished)
    clips = load_flow_store(site / "flows").clips
    tested = [p["clip_id"] for record in content.values() for p in record["predictions"]]
    assert sorted(tested) == sorted(clips["clip_id"])
    for name, record in content.items():
        assert record["test_subjects"] == (name,)
        assert not {name} & {*record["fit_subjects"], *record["val_subjects"]}
        assert record["teacher_digest"]
        assert record["audit"].startswith("audit passed")


def test_the_run_page_has_its_curves_and_features(finished):
    ledger = Ledger(finished)
    [experiment] = ledger.experiments()
    for record in ledger.records(experiment):
        stages = [record.curves["alignment_stage_2"], record.curves["alignment_stage_3"]]
        assert np.mean(stages, axis=0) == pytest.approx(record.curves["alignment"], rel=1e-5)
    kept = read_features(ledger, experiment)
    assert [len(fold.clip_ids) for fold in kept] == [6] * 5
    assert kept[0].class_means.shape == (3, kept[0].features.shape[1])
    assert len(map_of_features(kept)) == 30


def test_only_the_named_folds_are_made_and_a_bundle_is_verified_by_one(
    finished, site, tmp_path, capsys
):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--keep-features", "none")
    assert run_loso.main([*words, "--only", "nobody"]) == 2
    assert "only: expected some of the 5 folds synthetic/sub" in capsys.readouterr().err
    assert run_loso.main([*words, "--only", "synthetic/sub02"]) == 3
    assert list(ledger_content(tmp_path / "runs")) == ["synthetic/sub02"]
    assert not list((tmp_path / "runs").rglob("features"))

    bundle = tmp_path / "mine.zip"
    assert results_main(["pack", "--ledger", str(finished), "--out", str(bundle)]) == 0
    again = run_words(site, Path("{ledger}"), "--workers", "0", "--only", "{fold}")
    command = shlex.join([sys.executable, "-m", "orchestration.run_loso", *again])
    assert results_main(["verify", str(bundle), "--rerun", command]) == 0
    assert "was made again and is equal" in capsys.readouterr().out


def test_given_again_nothing_is_trained(finished, site, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.json")}
    assert run_loso.main(run_words(site, finished, "--workers", "0")) == 0
    assert "5 of 5 folds are in" in capsys.readouterr().out.replace("\n", " ")
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*.json")} == before


def test_a_missing_fold_alone_is_made_again_and_equal(finished, site, tmp_path):
    ledger = tmp_path / "runs"
    shutil.copytree(finished, ledger)
    [path] = ledger.rglob("folds/synthetic%2Fsub03.json")
    path.unlink()
    others = {p: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    assert run_loso.main(run_words(site, ledger, "--workers", "0")) == 0
    assert ledger_content(ledger) == ledger_content(finished)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in others.items())


@pytest.mark.filterwarnings("ignore::results.ledger.ledger.LedgerWarning")
def test_a_damaged_record_is_quarantined_and_made_again(finished, site, tmp_path):
    ledger = tmp_path / "runs"
    shutil.copytree(finished, ledger)
    [path] = ledger.rglob("folds/synthetic%2Fsub02.json")
    path.write_bytes(path.read_bytes()[:-200])
    assert run_loso.main(run_words(site, ledger, "--workers", "0")) == 0
    assert ledger_content(ledger) == ledger_content(finished)
    assert list(ledger.rglob("quarantine/*"))


def test_stacked_folds_give_the_same_records(finished, site, tmp_path):
    words = run_words(site, tmp_path / "runs", "--workers", "0", "--stack", "3")
    assert run_loso.main(words) == 0
    stacked, alone = ledger_content(tmp_path / "runs"), ledger_content(finished)
    assert set(stacked) == set(alone)
    for name, record in stacked.items():
        for one, other in zip(record["predictions"], alone[name]["predictions"], strict=True):
            assert one["clip_id"] == other["clip_id"]
            # Equal up to the order of summation, after a few epochs of Adam.
            np.testing.assert_allclose(one["probabilities"], other["probabilities"], atol=0.05)


def test_a_fold_that_always_breaks_is_given_up_with_its_traceback(finished, site, tmp_path):
    ledger = tmp_path / "runs"
    shutil.copytree(finished, ledger)
    for path in ledger.rglob("synthetic%2Fsub0[34].json"):
        path.unlink()
    [log] = ledger.rglob("events.jsonl")
    log.unlink()
    # Its checkpoint can neither be read nor set aside: a folder has the name.
    checkpoint = log.parent / "checkpoints" / "synthetic%2Fsub03.pt"
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_bytes(b"damaged")
    checkpoint.with_name(f"{checkpoint.name}.damaged").mkdir()
    assert run_loso.main(run_words(site, ledger, "--workers", "0")) == 3
    assert len(list(ledger.rglob("folds/*.json"))) == 4
    events = [json.loads(line) for line in log.read_text().splitlines()]
    tries = [e for e in events if e.get("fold") == "synthetic/sub03"]
    assert [e["event"] for e in tries] == [
        "started", "returned", "started", "returned", "started", "failed",
    ]  # fmt: skip
    assert {e["worker"] for e in tries} == {"driver"}
    assert "Traceback" in tries[-1]["why"]
    other = [e["event"] for e in events if e.get("fold") == "synthetic/sub04"]
    assert other == ["started", "finished"]


def test_the_whole_config_is_in_the_ledger(finished):
    [experiment] = Ledger(finished).experiments()
    assert experiment.config["loss"]["num_projections"] == 8
    assert experiment.config["model"]["input_size"] == 32
    assert experiment.classes == ("negative", "positive", "surprise")


def test_fresh_starts_again(finished, site, tmp_path):
    ledger = tmp_path / "runs"
    shutil.copytree(finished, ledger)
    before = {p.name: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    assert run_loso.main(run_words(site, ledger, "--workers", "0", "--fresh")) == 0
    after = {p.name: p.stat().st_mtime_ns for p in ledger.rglob("folds/*.json")}
    assert all(after[name] > before[name] for name in before)


def test_dry_run_writes_nothing(site, tmp_path, capsys):
    assert run_loso.main(run_words(site, tmp_path / "runs", "--dry-run")) == 0
    output = capsys.readouterr().out
    assert "0 of 5 folds" in output
    assert "5 folds," in output
    assert "hours of work in all" in output
    assert not (tmp_path / "runs").exists()


def test_official_scores_its_parts_in_one_fold(site, tmp_path):
    clips = make_clips(6, 6)
    clips["part"] = ["testA" if s.endswith("1") else "testB" if s.endswith("2") else "train"
                     for s in clips["subject"]]  # fmt: skip
    flows = write_store(tmp_path / "flows", clips)
    words = [*run_words(site, tmp_path / "runs", "--workers", "0", "--protocol", "official")]
    words[words.index("--flows") + 1] = str(flows)
    assert run_loso.main(words) == 0
    [record] = ledger_content(tmp_path / "runs").values()
    assert {p["part"] for p in record["predictions"]} == {"testA", "testB"}


class TestPlantedLeaks:
    """Six kinds of leak, each as a user would bring it in; six refusals before any training."""

    def refused(self, site, tmp_path, capsys, clips, *words, **store) -> str:
        flows = write_store(tmp_path / "leak", clips, **store)
        given = run_words(site, tmp_path / "runs", "--workers", "0", *words)
        given[given.index("--flows") + 1] = str(flows)
        assert run_loso.main(given) == 2
        assert not (tmp_path / "runs").exists()
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    def test_a_subject_on_two_sides(self, site, tmp_path, capsys):
        clips = make_clips(5, 6)
        clips["part"] = ["testA" if i % 6 == 0 else "train" for i in range(len(clips))]
        error = self.refused(site, tmp_path, capsys, clips, "--protocol", "official")
        assert "subjects on two sides" in error

    def test_one_clip_id_under_two_subjects(self, site, tmp_path, capsys):
        clips = make_clips(5, 6)
        clips.loc[7, "clip_id"] = clips.loc[0, "clip_id"]
        assert "one clip id under two subjects" in self.refused(site, tmp_path, capsys, clips)

    def test_identical_flow_under_two_subjects(self, site, tmp_path, capsys):
        clips = make_clips(5, 6)
        flows = np.random.default_rng(0).normal(size=(30, 2, 32, 32)).astype(np.float16)
        flows[12] = flows[3]
        error = self.refused(site, tmp_path, capsys, clips, flows=flows)
        assert "identical flow under two subjects" in error

    def test_teacher_subjects_among_the_test_subjects(self, site, tmp_path, capsys):
        clips = make_clips(5, 6, "synthetic-macro")
        error = self.refused(site, tmp_path, capsys, clips, "--dataset", "synthetic-macro")
        assert "teacher was trained on 4 of the test subjects" in error

    def test_normalisation_over_the_dataset(self, site, tmp_path, capsys):
        error = self.refused(site, tmp_path, capsys, make_clips(5, 6), normalisation="dataset")
        assert "normalised on 'dataset'" in error

    def test_a_class_missing_from_fit(self, site, tmp_path, capsys):
        clips = make_clips(5, 6)
        one = clips["subject"] == "synthetic/sub01"
        clips.loc[(clips["emotion"] == "surprise") & ~one, "emotion"] = "disgust"
        assert "fit has no clip of surprise" in self.refused(site, tmp_path, capsys, clips)


def test_it_runs_as_a_lone_copy_where_the_package_is_installed(site, tmp_path):
    script = tmp_path / "elsewhere" / "run_loso.py"
    script.parent.mkdir()
    shutil.copy(Path(run_loso.__file__), script)
    words = run_words(site, tmp_path / "runs", "--dry-run")
    done = subprocess.run(
        [sys.executable, str(script), *words], cwd=script.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 5 folds" in done.stdout


def test_without_the_package_a_lone_copy_explains_it(tmp_path):
    script = tmp_path / "run_loso.py"
    shutil.copy(Path(run_loso.__file__), script)
    # -S: no site-packages, so no package; nor by PYTHONPATH.
    done = subprocess.run(
        [sys.executable, "-S", str(script)], env={}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "needs the package dadnet-loso" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_event_log_is_json_lines(finished):
    [path] = finished.rglob("events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [e["event"] for e in events if e["event"] != "epochs"]
    assert kinds == ["run", *["started", "finished"] * 5, "ended"]
    assert {e["worker"] for e in events if "fold" in e} == {"driver"}


def test_index_columns_survive_the_store(site):
    stored = set(load_flow_store(site / "flows").clips.columns)
    assert set(INDEX_COLUMNS) - stored == {"onset_path", "apex_path", "flow_path"}


def test_ray_starts_with_the_plan_only_where_workers_are_surely_needed(site, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        "orchestration.workers.connection.connect", lambda workers, **_: started.append(workers)
    )

    def plan(*more):
        flags = parse_flags(run_words(site, tmp_path / "runs", *more))
        inputs = load_inputs(flags.experiment, flags.flows, flags.macro_weights)
        return run_loso._plan(flags, inputs, Console(quiet=True))

    plan("--workers", "0")
    plan("--dry-run")
    assert started == []
    made = plan("--workers", "2")
    assert started == [2]
    Ledger(tmp_path / "runs").open(made.experiment)
    assert plan("--workers", "2").experiment == made.experiment
    assert started == [2]  # some or all of its folds may be there


def test_ctrl_c_before_the_plan_is_made_is_reported_and_exits_3(
    site, tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_loso, "plan_of", interrupted)
    assert run_loso.main(run_words(site, tmp_path / "runs", "--workers", "0")) == 3
    assert "interrupted; nothing was begun" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
