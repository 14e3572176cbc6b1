"""Action units by the commands: trained, compared, packed, predicted, corrupted, searched."""

import re

import numpy as np
import pytest

from dadnet import load_model
from dadnet.flow.store import load_flow_store
from dadnet.inference.model_file import load_model_file
from orchestration import explain, robustness, run_loso, teacher, tune
from results.__main__ import main as results
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyLedger
from tests.build.flows import make_coded_clips, write_coded_store, write_store
from tests.build.runs import ledger_content

UNITS = ("AU1", "AU4", "AU9", "AU12", "AU15")


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    return write_coded_store(tmp_path_factory.mktemp("coded") / "flows", make_coded_clips(5, 10))


def words(site, flows, ledger, *more):
    return [
        "--flows", str(flows), "--ledger", str(ledger), "--class-set", "action-units",
        "--input-size", "32", "--epochs", "2", "--warmup-epochs", "0", "--workers", "0",
        *(() if "--model-type" in more else ("--macro-weights", str(site / "teacher.safetensors"))),
        "--num-projections", "8", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(site, flows, tmp_path_factory):
    """A ledger with DAD-Net, whose weights are kept, and a dummy."""
    ledger = tmp_path_factory.mktemp("runs")
    assert run_loso.main(words(site, flows, ledger, "--keep-weights", "best")) == 0
    assert run_loso.main(words(site, flows, ledger, "--model-type", "majority")) == 0
    return ledger


def test_units_have_a_board_of_their_own_with_paired_tests(done):
    [group] = leaderboard(Ledger(done)).groups
    assert group.multi_label
    assert group.classes == UNITS
    assert all(row.complete and row.rank for row in group.rows)
    assert {row.num_clips for row in group.rows} == {50}
    assert group.rows[1].p_best is not None


def test_records_say_which_labels_and_how_sure(done, flows):
    coded = load_flow_store(flows).clips.set_index("clip_id")["action_units"]
    for experiment in Ledger(done).experiments():
        for record in Ledger(done).records(experiment):
            for row in record.predictions:
                units = coded[row.clip_id].split("+")
                assert row.label == tuple(name for name in UNITS if name[2:] in units)
                sure = tuple(n for n, p in zip(UNITS, row.probabilities, strict=True) if p >= 0.5)
                assert row.prediction == sure
            assert "every class in fit" in record.audit


def test_a_stack_and_one_at_a_time_give_the_same(site, flows, done, tmp_path):
    assert run_loso.main(words(site, flows, tmp_path, "--stack", "5")) == 0
    [experiment] = [e for e in Ledger(done).experiments() if e.method.startswith("DAD-Net")]
    stacked = ledger_content(tmp_path)
    for record in Ledger(done).records(experiment):
        again = stacked[record.fold]["predictions"]
        for row, other in zip(record.predictions, again, strict=True):
            np.testing.assert_allclose(row.probabilities, other["probabilities"], atol=2e-2)


def test_the_codes_are_part_of_the_experiment(site, flows, tmp_path, capsys):
    """Emotions are in the store's digest, units are not: other codes are another experiment."""
    plans, stored = [], load_flow_store(flows)
    for number, side in enumerate(("", "L")):
        units = stored.clips["action_units"].str.replace("12", f"{side}12")
        units[0] += "+12" if number else ""
        clips = stored.clips.drop(columns="flow_digest").assign(action_units=units)
        store = write_store(tmp_path / f"flows{number}", clips, flows=stored.flows)
        command = words(site, store, tmp_path / "runs", "--model-type", "majority", "--dry-run")
        assert run_loso.main(command) == 0
        plans.append(re.findall(r"experiment ([0-9a-f]{16})", capsys.readouterr().out)[0])
        assert load_flow_store(store).digest == stored.digest
    assert plans[0] != plans[1]


def test_kept_weights_predict_labels_and_survive_corruptions(done, flows, tmp_path, capsys):
    ledger = Ledger(done)
    [experiment] = [e for e in ledger.experiments() if e.method.startswith("DAD-Net")]
    [record, *_] = ledger.records(experiment)
    path = ledger.weights_path(experiment, record.fold)
    assert load_model_file(path).card.multi_label
    store, row = load_flow_store(flows), record.predictions[0]
    predicted = load_model(path).predict(
        store.flows[list(store.clips["clip_id"]).index(row.clip_id)]
    )
    assert predicted.label == ("+".join(row.prediction) or "none")
    np.testing.assert_allclose(list(predicted.probabilities.values()), row.probabilities, atol=1e-5)
    sure = [max(p, 1 - p) for p in predicted.probabilities.values()]
    assert predicted.confidence == pytest.approx(min(sure))
    for command, more in ((robustness.main, ["--kinds", "noise"]), (explain.main, [])):
        flags = ["--ledger", str(done), "--experiment", experiment.digest, "--flows", str(flows)]
        assert command([*flags, "--site", str(tmp_path / "site"), *more]) == 0, capsys.readouterr()


def test_pages_and_bundle_are_made_and_hold(done, flows, tmp_path, capsys):
    site = tmp_path / "site"
    assert results(["leaderboard", "--ledger", str(done), "--out", str(site)]) == 0
    page = (site / "synthetic.html").read_text()
    assert "Macro F1" in page
    digests = [experiment.digest for experiment in Ledger(done).experiments()]
    assert results(["compare", *digests, "--ledger", str(done), "--out", str(site)]) == 0
    bundle = tmp_path / "mine.zip"
    assert results(["pack", digests[0], "--ledger", str(done), "--out", str(bundle)]) == 0
    assert results(["verify", str(bundle)]) == 0
    assert results(["leaklab", "--ledger", str(done), "--out", str(site)]) == 2
    assert "expected one class of each clip" in capsys.readouterr().err


def test_a_search_maximises_the_macro_f1_of_the_val_clips(site, flows, tmp_path):
    flags = words(site, flows, tmp_path / "runs", "--space", "smoke", "--num-trials", "2")
    more = ["--startup-trials", "2", "--selection", "inner", "--site", str(tmp_path / "site")]
    assert tune.main([*flags, *more]) == 0
    [study] = StudyLedger(tmp_path / "runs").studies()
    assert all(0 <= trial.val_uf1 <= 1 for trial in study.trials)
    [experiment] = Ledger(tmp_path / "runs").experiments()
    assert experiment.multi_label


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        (run_loso.main, ["--model-type", "prior-draw"], "draws one class of a clip"),
        (run_loso.main, ["--class-set", "5class-multi"], "no class set '5class-multi' for dataset"),
    ],
)
def test_what_cannot_be_is_one_line(site, flows, tmp_path, capsys, command, more, message):
    assert command(words(site, flows, tmp_path / "runs", *more)) == 2
    out = capsys.readouterr()
    assert message in " ".join((out.out + out.err).split())


def test_a_teacher_of_labels_is_refused(flows, tmp_path, capsys):
    flags = ["--flows", str(flows), "--dataset", "synthetic", "--class-set", "action-units"]
    out = str(tmp_path / "t.safetensors")
    assert teacher.main([*flags, "--out", out, "--input-size", "32", "--epochs", "1"]) == 2
    captured = capsys.readouterr()
    assert "trained on one class of each clip" in " ".join((captured.out + captured.err).split())
