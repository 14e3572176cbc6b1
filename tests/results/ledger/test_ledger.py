import json
import os
import re
import shutil

import pytest

from dadnet.base.disk import read_regular
from dadnet.base.errors import DadnetError
from results.ledger.ledger import Ledger, LedgerWarning, file_name, write_once
from results.ledger.records import Divergence
from results.ledger.sealed import seal
from tests.build.listing import listing

TABLE = {"casme2/sub01": ["n>n", "p>s"], "casme2/sub02": ["s>s"], "casme2/sub03": ["p>p"]}


def files(ledger: Ledger) -> list[str]:
    found = (path for path in ledger.root.rglob("*") if path.is_file())
    return sorted(path.relative_to(ledger.root).as_posix() for path in found)


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**18])
def test_files_of_every_size_are_read_to_their_end(tmp_path, size):
    text = os.urandom(size)
    (tmp_path / "file").write_bytes(text)
    assert read_regular(str(tmp_path / "file")) == text


def test_layout_and_plan_minus_ledger(ledger, fill, make_record):
    experiment = fill(TABLE, without=["casme2/sub02"])
    assert ledger.missing(experiment) == ("casme2/sub02",)
    assert [record.fold for record in ledger.records(experiment)] == [
        "casme2/sub01",
        "casme2/sub03",
    ]
    folder = f"synthetic/{experiment.digest}"
    assert files(ledger) == [
        f"{folder}/experiment.json",
        f"{folder}/folds/casme2%2Fsub01.json",
        f"{folder}/folds/casme2%2Fsub03.json",
    ]
    assert ledger.put(experiment, make_record(experiment, "casme2/sub02", ["s>s"]))
    assert ledger.missing(experiment) == ()
    assert [record.fold for record in ledger.records(experiment)] == list(TABLE)
    assert ledger.experiments() == (experiment,)
    checkpoint = ledger.checkpoint_path(experiment, "casme2/sub01")
    assert checkpoint.relative_to(ledger.root).as_posix() == (
        f"{folder}/checkpoints/casme2%2Fsub01.pt"
    )
    assert ledger.events_path(experiment) == ledger.root / folder / "events.jsonl"


def test_an_empty_or_absent_ledger_has_nothing(ledger, make_experiment):
    assert ledger.experiments() == ()
    assert ledger.orphans() == ()
    assert ledger.missing(make_experiment(TABLE)) == tuple(TABLE)
    assert not ledger.root.exists()


def test_a_record_is_written_once(ledger, fill, make_record):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "casme2/sub02")
    before = path.read_bytes()
    other = make_record(experiment, "casme2/sub02", ["s>n"], host={"hostname": "elsewhere"})
    assert not ledger.put(experiment, other)
    assert path.read_bytes() == before
    assert not list(ledger.root.rglob("*.tmp"))


def test_open_again_changes_nothing_and_other_content_is_refused(ledger, fill):
    experiment = fill(TABLE)
    before = {path: path.stat().st_mtime_ns for path in ledger.root.rglob("*")}
    ledger.open(experiment)
    assert {path: path.stat().st_mtime_ns for path in ledger.root.rglob("*")} == before
    with pytest.raises(DadnetError, match="other content"):
        ledger.open(experiment.replace(method="another"))


def test_open_removes_what_a_killed_writer_left(ledger, fill):
    experiment = fill({"s/1": ["n>n"]})
    stale = ledger.folder(experiment) / "folds" / f".{'0a' * 8}.tmp"
    stale.write_bytes(b"half")
    os.utime(stale, (0, 0))
    ledger.open(experiment)
    assert not stale.exists()


def test_experiments_are_sorted(ledger, fill):
    for seed in (31, 4, 7):
        fill(TABLE, seed=seed, without=list(TABLE))
    fill(TABLE, seed=None, without=list(TABLE))
    fill(TABLE, seed=5, dataset="casme2", without=list(TABLE))
    fill(TABLE, seed=5, method="A", without=list(TABLE))
    found = [(e.dataset, e.method[:1], e.seed) for e in ledger.experiments()]
    assert found == [
        ("casme2", "D", 5),
        ("synthetic", "A", 5),
        ("synthetic", "D", None),
        ("synthetic", "D", 4),
        ("synthetic", "D", 7),
        ("synthetic", "D", 31),
    ]


def truncated(text: str) -> str:
    return text[: len(text) // 2]


def flipped(text: str) -> str:
    return text.replace('"prediction":"surprise"', '"prediction":"positive"', 1)


def empty(text: str) -> str:
    return ""


def resealed(**changes: object):
    """Return a maker of a record with other content whose checksum is right."""

    def make(text: str) -> str:
        payload = json.loads(text)
        del payload["checksum"]
        return seal({**payload, **changes})

    return make


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "expected a record in JSON"),
        (empty, "expected a record in JSON"),
        (flipped, "checksum"),
        (lambda text: text.replace('"schema":1', '"schema":3'), "schema 1, got: 3"),
        (resealed(experiment="0" * 16), "experiment of fold"),
        (resealed(fold="casme2/sub03"), "expected fold 'casme2/sub01'"),
        (resealed(selection="oracle"), "selection of fold"),
        (resealed(teacher_digest="abc"), "teacher of fold"),
        (resealed(surplus=1), "unknown field `surplus`"),
    ],
)
def test_damage_is_reported_by_readers_and_quarantined_by_a_run(
    ledger, fill, make_record, damage, reason
):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "casme2/sub01")
    good = path.read_text()
    bad = damage(good)
    assert bad != good
    path.write_text(bad)
    before = listing(ledger.root)
    with pytest.warns(LedgerWarning, match=re.escape(reason)) as caught:
        assert ledger.missing(experiment) == ("casme2/sub01",)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert listing(ledger.root) == before
    with pytest.warns(LedgerWarning, match="was moved to"):
        ledger.set_damage_aside(experiment)
    (kept,) = (path.parents[1] / "quarantine").iterdir()
    assert kept.read_text() == bad
    ledger.set_damage_aside(experiment)  # and no second warning
    assert ledger.missing(experiment) == ("casme2/sub01",)
    record = make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"])
    assert ledger.put(experiment, record)
    assert path.read_text() == good


def test_put_replaces_a_damaged_record(ledger, fill, make_record):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "casme2/sub01")
    good = path.read_text()
    path.write_text(truncated(good))
    record = make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"])
    with pytest.warns(LedgerWarning, match="damaged"):
        assert ledger.put(experiment, record)
    assert path.read_text() == good


def test_damaged_experiment_leaves_orphans_until_it_is_opened_again(ledger, fill):
    experiment = fill(TABLE)
    path = ledger.folder(experiment) / "experiment.json"
    path.write_text("{}")
    with pytest.warns(LedgerWarning, match=r"experiment\.json"):
        assert ledger.experiments() == ()
    assert ledger.orphans(known=()) == (path.parent,)
    with pytest.warns(LedgerWarning, match=r"experiment\.json was moved to"):
        ledger.open(experiment)
    assert ledger.orphans() == ()
    assert ledger.missing(experiment) == ()
    assert ledger.experiments() == (experiment,)


def test_an_experiment_under_another_name_is_not_believed_and_hidden_folders_are_others(
    ledger, fill
):
    experiment = fill(TABLE)
    folder = ledger.folder(experiment)
    shutil.copytree(folder, ledger.root / ".other" / folder.name)
    assert ledger.experiments() == (experiment,)
    folder.rename(folder.with_name("0" * 16))
    with pytest.warns(LedgerWarning, match="it describes"):
        assert ledger.experiments() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "0" * 16}, "experiment of fold"),
        ({"fold": "casme2/sub09"}, "is not planned"),
        ({"test_subjects": ("casme2/sub01", "x")}, "test subjects of fold"),
        ({"selection": "last"}, "selection of fold"),
        ({"teacher_digest": "x"}, "teacher of fold"),
    ],
)
def test_records_that_do_not_belong_are_refused(ledger, fill, make_record, changes, message):
    experiment = fill(TABLE, without=["casme2/sub01"])
    clips = TABLE["casme2/sub01"]
    record = make_record(experiment, "casme2/sub01", clips).replace(**changes)
    with pytest.raises(DadnetError, match=message):
        ledger.put(experiment, record)
    assert ledger.missing(experiment) == ("casme2/sub01",)


def test_missing_clips_unknown_classes_and_wrong_probabilities_are_refused(
    ledger, fill, make_record
):
    experiment = fill(TABLE, without=["casme2/sub01"])
    record = make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"])
    first, second = record.predictions
    for rows, message in (
        ((first,), "number of clips"),
        ((first, second.replace(prediction="fear")), "negative, positive, surprise"),
        ((first, second.replace(probabilities=(0.5, 0.5))), "expected 3, got: 2"),
    ):
        with pytest.raises(DadnetError, match=message):
            ledger.put(experiment, record.replace(predictions=rows))


@pytest.mark.parametrize(
    "name", ["..", ".", "../../etc/passwd", "a b", "a%2Fb", "光流/样本", "<b>", "x" * 999, "/", "~"]
)
def test_any_name_is_a_safe_place(tmp_path, fill, ledger, name):
    table = {name: ["n>n"], "other": ["p>p"]}
    experiment = fill(table, dataset=name)
    assert ledger.missing(experiment) == ()
    assert ledger.experiments() == (experiment,)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    for path in ledger.root.rglob("*"):
        assert ledger.root in path.resolve().parents


def test_file_names_are_injective():
    names = ["a/b", "a%2Fb", "a b", "a+b", "a%20b", ".", "..", "%2E", "%2E.", "A", "a", "x" * 300]
    names += ["x" * 301, "é", "e\u0301"]
    assert len({file_name(name) for name in names}) == len(names)
    assert max(len(file_name(name)) for name in names) <= 200


def test_write_once_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_once(tmp_path / "a.json", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_divergence_is_kept_until_it_is_forgotten_and_a_record_counts_more(
    ledger, fill, make_record
):
    experiment = fill(TABLE, without=["casme2/sub01", "casme2/sub02"])
    assert ledger.divergences(experiment) == ()
    first, second = (
        Divergence(experiment.digest, fold, 3, "diverged in epoch 3; lower --lr", {"pid": 1})
        for fold in ("casme2/sub01", "casme2/sub02")
    )
    for divergence in (second, first, first.replace(epoch=4)):
        ledger.put_divergence(experiment, divergence)
    assert ledger.divergences(experiment) == (first, second)
    assert ledger.divergence(experiment, "casme2/sub03") is None
    ledger.put(experiment, make_record(experiment, "casme2/sub01", TABLE["casme2/sub01"]))
    assert ledger.divergences(experiment) == (second,)
    ledger.forget_divergences(experiment)
    assert ledger.divergences(experiment) == ()


def test_a_damaged_divergence_is_moved_aside_and_written_again(ledger, fill):
    experiment = fill(TABLE, without=["casme2/sub02"])
    divergence = Divergence(experiment.digest, "casme2/sub02", 3, "diverged", {})
    ledger.put_divergence(experiment, divergence)
    [path] = ledger.root.rglob("diverged/*.json")
    for damage in ("", path.read_text().replace("sub02", "sub01")):
        path.write_text(damage)
        with pytest.warns(LedgerWarning, match="damaged"):
            ledger.put_divergence(experiment, divergence)
        assert ledger.divergences(experiment) == (divergence,)
