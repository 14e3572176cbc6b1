"""The command, in this process, with real trainings of tiny networks."""

import re
import shlex
import shutil
import warnings

import numpy as np
import pytest

from dadnet.base.errors import TestLabelError
from orchestration import run_loso, tune
from orchestration.folds import make as work
from orchestration.folds import record
from orchestration.search import searches
from orchestration.search.flags import OFFICIAL_SEEDS, parse_flags
from results.__main__ import main as results_main
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from results.ledger.studies import StudyLedger, base_config
from results.ledger.val_side import ValLedger
from results.pages.reproduce import reproduce
from tests.build.damage import flip
from tests.build.dfme import dfme_clips, write_dfme
from tests.build.flows import make_clips, write_store
from tests.build.runs import tune_words

FLAGS = """
    flows ledger preset macro_weights space num_trials pruning second_objective folds_per_trial
    startup_trials outer_groups seeds study_storage workers concurrent_trials stack checkpoint_every
    dry_run price site
    dataset class_set protocol selection val_fraction normalisation shuffle_labels
    model_type micro_size macro_size input_size flow_correction head stn channel_attention drop_path
    model model_args
    alignment alignment_weight alignment_stages num_projections gswd_form label_smoothing
    epochs batch_size lr lr_floor warmup_epochs weight_decay patience augmentation
    seed
"""


@pytest.fixture(scope="module")
def searched(site, tmp_path_factory):
    root = tmp_path_factory.mktemp("searched")
    assert tune.main(tune_words(site, root)) == 0
    return root


def the_study(root):
    [study] = StudyLedger(root / "runs").studies()
    return study


def of_experiment(root, digest):
    ledger = Ledger(root / "runs")
    [experiment] = [e for e in ledger.experiments() if e.digest == digest]
    return experiment, {r.fold: comparable(r) for r in ledger.records(experiment)}


def test_the_winner_alone_has_a_test_side_and_the_record_names_the_study(searched):
    study = the_study(searched)
    assert [t.state for t in study.trials] == ["COMPLETE"] * 3
    [experiment] = Ledger(searched / "runs").experiments()
    assert study.scored == (experiment.digest,) == (study.best.experiment,)
    records = Ledger(searched / "runs").records(experiment)
    assert len(records) == 5
    assert {record.host["study"] for record in records} == {study.digest}


def test_the_winners_records_are_those_that_run_loso_makes(searched, site, tmp_path):
    experiment, records = of_experiment(searched, the_study(searched).best.experiment)
    loss = experiment.config["loss"]
    words = [
        "--flows", str(site / "flows"), "--macro-weights", str(site / "teacher.safetensors"),
        "--ledger", str(tmp_path / "runs"), "--input-size", "32", "--epochs", "3",
        "--warmup-epochs", "0", "--workers", "0",
        "--alignment-weight", repr(loss["alignment_weight"]),
        "--alignment-stages", ",".join(map(str, loss["alignment_stages"])),
    ]  # fmt: skip
    assert run_loso.main(words) == 0
    other, of_run_loso = of_experiment(tmp_path, experiment.digest)
    assert other == experiment
    assert of_run_loso == records


def test_given_again_nothing_is_trained_or_scored(searched, site, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing is left to do")

    before = {p: p.stat().st_mtime_ns for p in searched.rglob("runs/synthetic/**/*.json")}
    monkeypatch.setattr(work, "FoldTask", refuse)
    monkeypatch.setattr(record, "fold_record", refuse)
    assert tune.main(tune_words(site, searched)) == 0
    assert {p: p.stat().st_mtime_ns for p in searched.rglob("runs/synthetic/**/*.json")} == before


@pytest.mark.parametrize("damage", [lambda path: flip(path, -3), lambda path: path.unlink()])
def test_damaged_weights_of_the_winner_are_trained_again(
    searched, site, tmp_path, monkeypatch, damage
):
    real = searches.train_winners

    def train(winners, *rest):
        experiment, fold = winners[0].plan.experiment, winners[0].folds[0]
        damage(ValLedger(tmp_path / "runs").weights_path(experiment, fold))
        real(winners, *rest)

    monkeypatch.setattr(searches, "train_winners", train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tune.main(tune_words(site, tmp_path)) == 0
    digest = the_study(tmp_path).best.experiment
    assert digest == the_study(searched).best.experiment
    assert of_experiment(tmp_path, digest) == of_experiment(searched, digest)


def test_folds_of_run_loso_are_not_made_again(site, tmp_path, monkeypatch):
    words = ["--flows", str(site / "flows"), "--ledger", str(tmp_path / "runs"), "--workers", "0"]
    words += ["--macro-weights", str(site / "teacher.safetensors"), "--input-size", "32"]
    words += ["--epochs", "3", "--warmup-epochs", "0"]
    # The published recipe as the space `smoke` has it is the first trial.
    assert run_loso.main([*words, "--alignment-weight", "1.0", "--alignment-stages", "3"]) == 0
    trained = []
    real = work.FoldTask

    def count(config, *rest):
        trained.append(config.loss.alignment_weight)
        return real(config, *rest)

    monkeypatch.setattr(work, "FoldTask", count)
    assert tune.main(tune_words(site, tmp_path, "--num-trials", "2")) == 0
    assert len(trained) == 5
    assert 1.0 not in trained


def test_run_loso_scores_what_a_search_has_trained(site, tmp_path, monkeypatch):
    # Killed after the search and before its winner was scored.
    monkeypatch.setattr("orchestration.search.searches.score_winner", lambda *_: 1 / 0)
    assert tune.main(tune_words(site, tmp_path, "--num-trials", "1")) == 3
    assert not list(tmp_path.rglob("folds/*.json"))
    monkeypatch.setattr(work, "FoldTask", lambda *_, **__: 1 / 0)
    words = ["--flows", str(site / "flows"), "--ledger", str(tmp_path / "runs"), "--workers", "0"]
    words += ["--macro-weights", str(site / "teacher.safetensors"), "--input-size", "32"]
    words += ["--epochs", "3", "--warmup-epochs", "0"]
    assert run_loso.main([*words, "--alignment-weight", "1.0", "--alignment-stages", "3"]) == 0


class TestNoTestLabelIsSeen:
    def test_scoring_a_test_clip_during_the_search_raises(self, site, tmp_path, monkeypatch):
        """A worker that would also score the test side is stopped by the hidden labels."""
        real = record.make_val_side

        def peek(plan, trained, device, host):
            record.fold_record(plan, trained, device, host)
            return real(plan, trained, device, host)

        monkeypatch.setattr(record, "make_val_side", peek)
        with pytest.raises(TestLabelError):
            tune.run(parse_flags(tune_words(site, tmp_path), ""), tune.cli.console())

    def test_reading_a_test_label_during_the_search_raises(self, site, tmp_path, monkeypatch):
        real = record.make_val_side

        def peek(plan, trained, device, host):
            test = plan.dataset.clips["subject"].isin(plan.fold(trained.name).test).to_numpy()
            assert "negative" in set(plan.dataset.clips["label"].to_numpy()[~test])
            assert str(plan.dataset.clips["label"].to_numpy()[test][0])
            return real(plan, trained, device, host)

        monkeypatch.setattr(record, "make_val_side", peek)
        with pytest.raises(TestLabelError, match="a search read the label of a test clip"):
            tune.run(parse_flags(tune_words(site, tmp_path), ""), tune.cli.console())

    def test_an_official_search_is_the_same_whatever_the_test_labels_are(self, tmp_path, site):
        clips = make_clips(8, 6)
        parts = {"sub07": "testA", "sub08": "testB"}
        clips["part"] = [parts.get(s.split("/")[1], "train") for s in clips["subject"]]
        found = []
        for name in ("true", "poisoned"):
            if name == "poisoned":
                test = clips["part"] != "train"
                clips.loc[test, "emotion"] = np.roll(clips.loc[test, "emotion"], 1)
            root = tmp_path / name
            write_store(root / "flows", clips)
            shutil.copy(site / "teacher.safetensors", root)
            words = tune_words(root, root, "--protocol", "official", "--seeds", "42")
            assert tune.main(words) == 0
            study = the_study(root)
            [experiment] = Ledger(root / "runs").experiments()
            [record] = Ledger(root / "runs").records(experiment)
            rows = [(t.params, t.values, t.reports) for t in study.trials]
            found.append((rows, study.winner, [p.prediction for p in record.predictions]))
        # The flows of the test clips were drawn for other labels, so that only these may differ.
        assert found[0][:2] == found[1][:2]


def test_official_scores_both_parts_once_per_seed(site, tmp_path, capsys):
    clips = make_clips(8, 6)
    parts = {"sub07": "testA", "sub08": "testB"}
    clips["part"] = [parts.get(s.split("/")[1], "train") for s in clips["subject"]]
    write_store(tmp_path / "flows", clips)
    shutil.copy(site / "teacher.safetensors", tmp_path)
    words = tune_words(tmp_path, tmp_path, "--protocol", "official", "--num-trials", "2")
    words[words.index("inner")] = "auto"
    assert tune.main(words) == 0
    text = capsys.readouterr().out
    for part in ("testA", "testB"):
        for seed in OFFICIAL_SEEDS:
            assert text.count(f"{part}, seed {seed}: UF1") == 1
        assert re.search(rf"{part}: UF1 0\.\d+ \+- 0\.\d+ over 5 seeds, UAR", text)
    ledger = Ledger(tmp_path / "runs")
    experiments = ledger.experiments()
    assert sorted(e.seed for e in experiments) == sorted(OFFICIAL_SEEDS)
    assert set(the_study(tmp_path).scored) == {e.digest for e in experiments}
    for experiment in experiments:
        [record] = ledger.records(experiment)
        assert len(record.predictions) == 12


def test_the_synthetic_dfme_has_the_official_shape_and_goes_end_to_end(site, tmp_path, capsys):
    full = dfme_clips().groupby("part")
    assert full.size().to_dict() == {"train": 1856, "testA": 474, "testB": 299}
    assert full["subject"].nunique().to_dict() == {"train": 176, "testA": 42, "testB": 41}
    write_dfme(tmp_path / "flows", scale=0.04, size=32)
    shutil.copy(site / "teacher.safetensors", tmp_path)
    words = tune_words(tmp_path, tmp_path, "--dataset", "dfme", "--space", "alignment")
    words[words.index("inner")] = "auto"
    assert tune.main([*words, "--num-trials", "5", "--epochs", "2"]) == 0
    text = capsys.readouterr().out
    assert "winner: trial" in text
    for part in ("testA", "testB"):
        assert len(re.findall(rf"{part}, seed \d+: UF1", text)) == len(OFFICIAL_SEEDS)
    assert the_study(tmp_path).trials[0].params == dict.fromkeys(
        ("stage0", "stage1", "stage2", "stage3"), False
    )  # the published recipe of the three classes aligns nothing


def test_nested_search_tests_every_subject_with_settings_that_never_saw_it(site, tmp_path, capsys):
    write_store(tmp_path / "flows", make_clips(7, 6))
    shutil.copy(site / "teacher.safetensors", tmp_path)
    words = tune_words(tmp_path, tmp_path, "--num-trials", "2", "--outer-groups", "2")
    words[words.index("inner")] = "auto"
    assert tune.main(words) == 0
    text = capsys.readouterr().out
    studies = StudyLedger(tmp_path / "runs").studies()
    assert len(studies) == 2
    assert {study.level for study in studies} == {"nested"}
    [experiment] = Ledger(tmp_path / "runs").experiments()
    assert experiment.selection == "nested"
    assert {study.scored for study in studies} == {(experiment.digest,)}
    groups = experiment.config["search"]["outer_groups"]
    folds = [set(study.folds) for study in studies]
    assert sorted(map(sorted, folds), key=str) == sorted(
        (sorted(set().union(*map(set, groups)) - set(group)) for group in groups), key=str
    )
    records = Ledger(tmp_path / "runs").records(experiment)
    assert sorted(record.fold for record in records) == sorted(set().union(*map(set, groups)))
    for line in ("not nested: UF1", "nested: UF1", "gap "):
        assert line in text
    # No weights are left, and no test side but the nested one.
    assert not list((tmp_path / "runs").rglob("*.safetensors"))

    # Its bundle is verified, and its page says how to make it again.
    bundle = tmp_path / "mine.zip"
    words = ["--ledger", str(tmp_path / "runs"), "--out", str(bundle)]
    assert results_main(["pack", *words]) == 0
    assert results_main(["verify", str(bundle)]) == 0
    command = shlex.split(reproduce(experiment, 2).replace("\\\n", " "))
    assert command[:2] == ["dadnet", "tune"]
    flags = parse_flags(command[2:], "")
    assert (flags.level, flags.outer_groups, flags.num_trials) == ("nested", 2, 2)
    made = flags.base.to_json()
    planned = base_config(experiment.config)
    assert {**made, "data": planned["data"]} == planned


def test_dry_run_says_trainings_hours_and_cost_and_writes_nothing(site, tmp_path, capsys):
    words = tune_words(site, tmp_path, "--dry-run", "--price", "2.5", "--num-trials", "40")
    assert tune.main(words) == 0
    text = capsys.readouterr().out
    assert "40 trials x 5 folds = 200 trainings at most" in text
    assert "CPU-hours of work" in text
    assert "at 2.5 per CPU-hour" in text
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "nothing"], "space: expected one of alignment"),
        (["--num-trials", "0"], "num_trials: expected 1 or more"),
        (["--second-objective", "seconds"], "second_objective: expected --pruning none"),
        (["--protocol", "official", "--selection", "nested"], "nothing is nested"),
        (["--selection", "oracle"], "selection"),
        (["--outer-groups", "2", "--selection", "nested"], "leave at least 3 of 5 subjects"),
        (["--seeds", "1,1"], "seeds: expected different"),
        (["--study-storage", "nothing://x"], "study storage: "),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_status_2(site, tmp_path, capsys, words, message):
    assert tune.main(tune_words(site, tmp_path, *words)) == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_the_flags_are_these(capsys):
    with pytest.raises(SystemExit):
        parse_flags(["--help"], "")
    found = set(re.findall(r"--(?:no-)?([a-z0-9-]+)", capsys.readouterr().out))
    assert {name.replace("_", "-") for name in FLAGS.split()} <= found


def test_dfme_is_official_and_others_are_loso():
    assert parse_flags(["--dataset", "dfme"], "").level == "inner"
    assert parse_flags(["--dataset", "dfme"], "").winner_seeds == OFFICIAL_SEEDS
    assert parse_flags(["--dataset", "casme2"], "").level == "nested"
    assert parse_flags([], "").base.data.selection == "inner"
