"""Readers change nothing in a ledger, whatever lies there, and a run mends what can be mended."""

import json
import os

import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.exchange.submission import merge
from results.ledger.events import EventReader
from results.ledger.explanation import explanation_path
from results.ledger.features import Features, put_features
from results.ledger.files import OtherVersionError
from results.ledger.ledger import Ledger, LedgerWarning
from results.ledger.sealed import seal
from results.ledger.studies import StudyLedger
from results.ledger.val_side import ValLedger
from tests.build.listing import IRREGULAR, listing, put_irregular
from tests.build.records import GOOD, build_study

pytestmark = pytest.mark.timeout(60)


def of_version(text: str, version: str | None = "0.3") -> str:
    """A whole sealed text as another version would have written it."""
    payload = {**json.loads(text), "schema": 2}
    del payload["checksum"]
    if version is not None:
        payload["host"] = {"versions": {"dadnet-loso": version}}
    return seal(payload) + "\n"


@pytest.fixture
def spoiled(ledger, fill):
    """A ledger in which something of every kind is wrong beside a whole experiment."""
    whole, odd, newer = (fill(GOOD, method=name) for name in ("whole", "odd", "newer"))
    ledger.events_path(whole).write_bytes(b"\xff\n")
    paths = [ledger.fold_path(odd, name) for name in GOOD]
    paths[0].write_text(paths[0].read_text()[:-9])
    put_irregular(paths[1], "pipe")
    paths[2].write_text(of_version(paths[2].read_text()))
    path = ledger.folder(newer) / "experiment.json"
    path.write_text(of_version(path.read_text(), None))
    features = Features(whole.digest, "a", ("a/clip0",), np.ones((1, 2)), np.zeros((3, 2)))
    assert put_features(ledger, whole, features)
    path = ledger.folder(whole) / "features" / "a.json"
    path.write_text(path.read_text().replace("1.0", "2.0", 1))
    explanation_path(ledger, whole).parent.mkdir()
    put_irregular(explanation_path(ledger, whole), "broken link")
    studies = StudyLedger(ledger.root)
    for digest in ("ab" * 8, "cd" * 8):
        studies.put(build_study((whole.digest,), digest=digest))
    for folder, change in (("ab" * 8, lambda text: text[:-9]), ("cd" * 8, of_version)):
        path = studies.folder(folder) / "study.json"
        path.write_text(change(path.read_text()))
    put_irregular(ledger.root / "loop", "loop")
    put_irregular(ledger.root / "synthetic" / "pipe", "pipe")
    return ledger, whole, odd


VERBS = {
    "leaderboard": (["--out", "OUT"], 3),
    "run": (["WHOLE", "--out", "OUT"], 0),
    "compare": (["WHOLE", "ODD", "--out", "OUT"], 2),
    "predictions": (["--experiment", "WHOLE"], 0),
    "pack": (["WHOLE", "--out", "OUT.zip"], 2),  # its digest is made up
    "leaklab": (["--out", "OUT", "--repeats", "2"], 0),
    "track": (["WHOLE", "--tensorboard", "OUT"], 0),
    "verify": (["LEDGER"], 2),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_reading_verb_changes_nothing_and_one_odd_file_does_not_stop_it(
    spoiled, tmp_path, capsys, verb
):
    ledger, whole, odd = spoiled
    words, status = VERBS[verb]
    meanings = {"OUT": tmp_path / "out", "WHOLE": whole.digest, "ODD": odd.digest}
    meanings |= {"LEDGER": ledger.root, "OUT.zip": tmp_path / "out.zip"}
    given = [verb, *(str(meanings.get(word, word)) for word in words)]
    if verb != "verify":
        given += ["--ledger", str(ledger.root)]
    before = listing(ledger.root)
    assert main(given) == status
    assert listing(ledger.root) == before
    error = capsys.readouterr().err
    assert "report it" not in error
    if verb == "leaderboard":
        for part in (
            "schema 1, got: 2 (written by 0.3, schema 2)",
            "schema 1, got: 2 (written by another version, schema 2)",
            "got a named pipe",
            "got a symbolic link",
            "are no events",
            "damaged",
            "the checksum of the features",
            "9 files of the ledger are left out",
        ):
            assert part in error, part
        assert error.count("named pipe") == 1


def test_a_run_refuses_another_version_by_name_before_it_moves_anything(spoiled):
    ledger, _, odd = spoiled
    path = ledger.fold_path(odd, "c")
    ledger.fold_path(odd, "a").unlink()
    ledger.fold_path(odd, "b").unlink()
    before = listing(ledger.root)
    for act in (ledger.set_damage_aside, ledger.check):
        with pytest.raises(OtherVersionError, match=r"c\.json: .*written by 0\.3, schema 2"):
            act(odd)
    assert listing(ledger.root) == before
    assert path.exists()


def test_another_version_is_never_written_over(ledger, fill, make_record):
    experiment = fill(GOOD)
    record, path = make_record(experiment, "a", GOOD["a"]), ledger.fold_path(experiment, "a")
    path.write_text(of_version(path.read_text()))
    with pytest.raises(OtherVersionError, match=r"written by 0\.3, schema 2"):
        ledger.put(experiment, record)
    path = ledger.folder(experiment) / "experiment.json"
    path.write_text(of_version(path.read_text(), None))
    with pytest.raises(OtherVersionError, match="written by another version, schema 2"):
        ledger.open(experiment)
    study, studies = build_study(()), StudyLedger(ledger.root)
    studies.put(study)
    path = studies.folder(study.digest) / "study.json"
    path.write_text(of_version(path.read_text()))
    with pytest.raises(OtherVersionError, match=r"study\.json: .*written by 0\.3, schema 2"):
        studies.put(study)


def test_a_schema_number_that_was_damaged_is_damage_and_does_not_block_the_fold(
    ledger, fill, make_record
):
    experiment = fill(GOOD)
    path = ledger.fold_path(experiment, "a")
    good = path.read_text()
    path.write_text(good.replace('"schema":1', '"schema":3'))
    with pytest.warns(LedgerWarning, match="schema 1, got: 3"):
        ledger.set_damage_aside(experiment)
    assert ledger.put(experiment, make_record(experiment, "a", GOOD["a"]))
    assert path.read_text() == good


@pytest.mark.parametrize("kind", IRREGULAR)
def test_what_is_no_file_is_reported_by_readers_and_makes_room_for_a_record(
    ledger, fill, make_record, kind
):
    experiment = fill(GOOD)
    path = ledger.fold_path(experiment, "a")
    put_irregular(path, kind)
    before = listing(ledger.root)
    with pytest.warns(LedgerWarning, match="expected a regular file at .*, got a "):
        assert ledger.missing(experiment) == ("a",)
    assert dict(ledger.read_all(experiment))[experiment.folds[0]] == b""
    assert listing(ledger.root) == before
    with pytest.warns(LedgerWarning, match="was moved to"):
        assert ledger.put(experiment, make_record(experiment, "a", GOOD["a"]))
    assert ledger.missing(experiment) == ()
    (aside,) = (ledger.folder(experiment) / "quarantine").iterdir()
    assert aside.name.endswith("-a.json")


@pytest.mark.parametrize("kind", IRREGULAR)
def test_an_experiment_that_is_no_file_is_written_and_a_log_costs_a_warning(ledger, fill, kind):
    experiment = fill(GOOD)
    put_irregular(ledger.folder(experiment) / "experiment.json", kind)
    with pytest.warns(LedgerWarning, match="got a "):
        assert ledger.experiments() == ()
    with pytest.warns(LedgerWarning, match="was moved to"):
        ledger.open(experiment)
    assert ledger.experiments() == (experiment,)
    put_irregular(ledger.events_path(experiment), kind)
    with pytest.warns(LedgerWarning, match="the event log .* is left out"):
        EventReader(ledger.events_path(experiment)).read(print)
    side = ValLedger(ledger.root).path(experiment, "a")
    side.parent.mkdir()
    put_irregular(side, kind)
    with pytest.warns(LedgerWarning, match="got a "):
        assert ValLedger(ledger.root).get(experiment, "a") is None


def test_a_name_that_cannot_be_moved_ends_in_an_error_and_not_in_a_loop(
    ledger, fill, make_record, monkeypatch
):
    experiment = fill(GOOD, without=["a"])
    monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(FileExistsError()))
    with pytest.raises(DadnetError, match="can be neither written nor read"):
        ledger.put(experiment, make_record(experiment, "a", GOOD["a"]))


def test_merge_refuses_a_source_with_damage_and_touches_nothing(spoiled, fill, tmp_path):
    ledger, _, _ = spoiled
    target = Ledger(tmp_path / "target")
    before = listing(ledger.root)
    with pytest.raises(DadnetError, match=r"left out: .*and \d+ more.*; nothing was merged"):
        merge([ledger.root], target)
    assert listing(ledger.root) == before
    assert not target.root.exists()


def test_merge_checks_the_last_source_before_it_writes_the_first(ledger, fill, tmp_path):
    first, last = fill(GOOD, method="first"), fill(GOOD, method="last")
    target = Ledger(tmp_path / "target")
    target.open(last.replace(method="another"))
    for spoil in (
        lambda: None,
        lambda: [p.write_text(of_version(p.read_text())) for p in target.root.rglob("*.json")],
    ):
        spoil()
        before = listing(tmp_path)
        with pytest.raises(DadnetError, match="other content|written by"):
            merge([ledger.root], target)
        assert listing(tmp_path) == before
    assert not target.folder(first).exists()


def test_a_bundle_that_is_a_pipe_is_refused_without_waiting(tmp_path, capsys):
    os.mkfifo(tmp_path / "bundle.zip")
    for words in (["verify"], ["merge", "--ledger", str(tmp_path / "runs")]):
        assert main([*words, str(tmp_path / "bundle.zip")]) == 2
        assert "expected a regular file at" in capsys.readouterr().err
