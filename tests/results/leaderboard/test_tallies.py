import hashlib
import json
import os

import pytest

from results.__main__ import main
from results.leaderboard import fingerprint as scan
from results.leaderboard import tallies as account
from results.leaderboard.export import to_json
from results.leaderboard.ranking import leaderboard
from results.leaderboard.tallies import INDEX, accounts
from results.ledger.ledger import LedgerWarning
from results.ledger.quick import read_clips, read_experiment, sealed_whole
from results.ledger.records import FoldRecord

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


def grown_old(ledger, seconds: int = 60) -> None:
    """Set the times of all files back, as if they had been written a while ago."""
    for path in ledger.root.rglob("*"):
        if path.is_file():
            before = path.stat()
            times = (before.st_atime_ns, before.st_mtime_ns - seconds * 10**9)
            os.utime(path, ns=times)


@pytest.fixture
def indexed(ledger, fill, monkeypatch):
    """A ledger of three experiments with an index, for which the few folds count as many."""
    monkeypatch.setattr(account, "_FEW", 1)
    experiments = [fill(TABLE, method=name) for name in ("one", "two")]
    experiments.append(fill(TABLE, method="half", without=["c"]))
    grown_old(ledger)
    leaderboard(ledger)
    assert (ledger.root / INDEX).exists()
    return experiments


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The experiments whose folds are read from now on."""
    found: list[str] = []
    real = account._read_one

    def noting(ledger, experiment):
        found.append(experiment.method)
        return real(ledger, experiment)

    monkeypatch.setattr(account, "_read_one", noting)
    return found


def test_the_quick_path_reads_what_the_slow_one_reads(ledger, fill, make_record):
    experiment = fill(TABLE)
    folder = ledger.folder(experiment)
    assert read_experiment((folder / "experiment.json").read_bytes()) == experiment
    num_done, clips = read_clips(experiment, ledger.read_all(experiment))
    rows = [row for record in ledger.records(experiment) for row in record.predictions]
    assert num_done == 3
    told = [(c.clip_id, c.subject, c.label, c.prediction, c.probabilities) for c in clips]
    assert told == [(r.clip_id, r.subject, r.label, r.prediction, r.probabilities) for r in rows]


def test_the_quick_path_notices_every_changed_bit(ledger, fill):
    experiment = fill(TABLE)
    text = ledger.fold_path(experiment, "a").read_bytes()
    assert sealed_whole(text)
    for position in range(len(text) - 1):
        for bit in range(8):
            broken = bytearray(text)
            broken[position] ^= 1 << bit
            assert not sealed_whole(bytes(broken)), position


WRONG = {
    "schema": 2,
    "experiment": "0" * 16,
    "fold": "b",
    "selection": "oracle",
    "teacher_digest": "x",
    "fit_subjects": ["a"],
    "val_subjects": ["b", "b"],
    "test_subjects": ["c"],
    "chosen_epoch": -1,
    "curves": {"a": ["x"]},
    "predictions": [],
    "audit": "\u0007",
    "surplus": 1,
}


@pytest.mark.parametrize("field", WRONG)
def test_the_quick_path_leaves_wrong_fields_to_the_slow_one(ledger, fill, field):
    from results.ledger.sealed import seal

    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "a")
    payload = json.loads(path.read_bytes())
    del payload["checksum"]
    path.write_text(seal({**payload, field: WRONG[field]}) + "\n")
    assert read_clips(experiment, ledger.read_all(experiment)) is None
    with pytest.warns(LedgerWarning, match="damaged"):
        assert ledger.record(experiment, "a") is None


def test_wrong_clips_are_left_to_the_slow_path(ledger, fill):
    from results.ledger.sealed import seal

    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "a")
    good = json.loads(path.read_bytes())
    del good["checksum"]
    for change in (
        {"label": "fear"},
        {"subject": "b"},
        {"clip_id": "a/clip1"},
        {"clip_id": ""},
        {"probabilities": [0.5, 0.5]},
        {"probabilities": [0.9, 0.9, 0.9]},
        {"probabilities": [1.5, -0.5, 0.0]},
    ):
        rows = [{**good["predictions"][0], **change}, good["predictions"][1]]
        text = (seal({**good, "predictions": rows}) + "\n").encode()
        files = [(experiment.folds[0], text)]
        assert read_clips(experiment, files) is None, change


def test_unchanged_experiments_are_not_read_again(ledger, indexed, reads):
    first = to_json(leaderboard(ledger))
    assert reads == []
    (ledger.root / INDEX).unlink()
    assert to_json(leaderboard(ledger)) == first
    assert sorted(reads) == ["half", "one", "two"]


def test_an_experiment_without_a_fold_keeps_the_shape_of_its_counts(ledger, fill):
    experiment = fill(TABLE, without=list(TABLE))
    (account_,) = accounts(ledger, [experiment], {})
    assert (account_.num_done, account_.summary) == (0, None)
    assert account_.counts.confusions.shape == (0, 3, 3)


def test_the_parts_of_a_composite_are_kept_too(ledger, fill, monkeypatch, reads):
    monkeypatch.setattr(account, "_FEW", 1)
    composite = {"smic/a": TABLE["a"], "samm/b": TABLE["b"], "samm/c": TABLE["c"]}
    fill(composite, dataset="megc2019", protocol="cde")
    grown_old(ledger)
    first = leaderboard(ledger)
    assert [(group.part, group.rows[0].num_subjects) for group in first.groups] == [
        ("", 3),
        ("samm", 2),
        ("smic", 1),
    ]
    assert reads.pop()
    assert to_json(leaderboard(ledger)) == to_json(first)
    assert reads == []


def test_a_new_fold_a_damaged_one_and_a_touched_one_are_read(ledger, indexed, reads, make_record):
    _, two, half = indexed
    ledger.put(half, make_record(half, "c", TABLE["c"]))
    assert leaderboard(ledger).complete
    assert reads == ["half"]
    reads.clear()
    path = ledger.fold_path(two, "b")
    path.write_bytes(path.read_bytes().replace(b"surprise", b"positive", 1))
    with pytest.warns(LedgerWarning, match="checksum"):
        board = leaderboard(ledger)
    # "half" was written a moment ago, so its state is not trusted yet
    assert sorted(set(reads)) == ["half", "two"]
    assert [row.status for row in board.rows] == ["ranked", "ranked", "incomplete"]


def test_a_damaged_index_and_another_code_only_cost_time(ledger, indexed, reads, monkeypatch):
    first = to_json(leaderboard(ledger))
    path = ledger.root / INDEX
    lines = path.read_bytes().splitlines(keepends=True)
    strange = b'{"written":"by a later version"}'
    whole = hashlib.sha256(strange).hexdigest().encode() + b" " + strange + b"\n"
    damaged = lines[0].replace(b"num_done", b"num_d0ne")
    path.write_bytes(b"".join([damaged, whole, *lines[1:]]))
    assert to_json(leaderboard(ledger)) == first
    assert len(reads) == 1
    reads.clear()
    monkeypatch.setattr(account, "of_source", lambda: "other")
    assert to_json(leaderboard(ledger)) == first
    assert len(reads) == 3


def test_processes_give_the_same_accounts_and_pass_warnings_on(ledger, indexed):
    one, _, _ = indexed
    (ledger.root / INDEX).unlink()
    alone = accounts(ledger, indexed, {})
    ledger.fold_path(one, "b").write_text("{")
    with pytest.warns(LedgerWarning, match="damaged"):
        many = accounts(ledger, indexed, {}, processes=2)
    assert [item.num_done for item in many] == [2, 3, 2]
    assert many[1].summary == alone[1].summary


def test_a_site_is_made_again_only_when_something_changed(
    ledger, fill, tmp_path, capsys, make_record
):
    out = tmp_path / "site"
    words = ["leaderboard", "--ledger", str(ledger.root), "--out", str(out)]
    experiment = fill(TABLE, without=["c"])
    grown_old(ledger)

    def said() -> str:
        main(words)
        return capsys.readouterr().out

    first = said()
    assert "wrote" in first
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}
    again = said()
    assert "nothing changed" in again
    assert again.splitlines()[:-1] == first.splitlines()[:-1]
    assert main(words) == 3  # still incomplete
    capsys.readouterr()
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()} == before
    (out / "synthetic.csv").write_text("tampered")
    assert "wrote" in said()
    assert (out / "synthetic.csv").read_bytes() == before["synthetic.csv"][0]
    ledger.put(experiment, make_record(experiment, "c", TABLE["c"]))
    assert "wrote" in said()
    assert "wrote" in said()  # a ledger that may still be changing leaves no stamp
    grown_old(ledger)
    assert "wrote" in said()
    assert "nothing changed" in said()
    assert main([*words, "--rebuild"]) == 0
    assert "wrote" in capsys.readouterr().out


def test_scan_sees_what_was_written_and_nothing_of_others(ledger, fill, monkeypatch):
    experiment = fill(TABLE)
    (ledger.root / ".ray" / "x").mkdir(parents=True)
    name = f"synthetic/{experiment.digest}"
    first = scan.scan(ledger.root)
    assert list(first) == [name]
    (ledger.root / ".studies" / "x").mkdir(parents=True)  # a search, which its page shows
    assert list(scan.scan(ledger.root)) == [".studies/x", name]
    (ledger.root / ".studies" / "x").rmdir()
    assert not first[name].settled
    assert scan.of_ledger(first) is None
    grown_old(ledger)
    old = scan.scan(ledger.root)
    assert old[name].settled
    monkeypatch.setattr(scan, "_MANY", 1)
    assert scan.scan(ledger.root, processes=2) == old
    text = ledger.fold_path(experiment, "a").read_text()
    ledger.fold_path(experiment, "a").write_text(text)
    assert scan.scan(ledger.root)[name].fingerprint != old[name].fingerprint
    assert FoldRecord.from_json(text).fold == "a"
    for seconds in (-(10**9), 2**35):  # before 1970 and far away
        os.utime(ledger.fold_path(experiment, "a"), (seconds, seconds))
        assert scan.scan(ledger.root)[name].settled == (seconds < 0)
    assert scan.scan("/nowhere") == {}
