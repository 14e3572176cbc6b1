import os

from results.__main__ import main
from results.leaderboard import stamp
from results.leaderboard.stamp import of_ledger
from results.ledger.records import Divergence

TABLE = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


def make_old(ledger, seconds: int = 60) -> None:
    """Set the times of all files back, as if they had been written a while ago."""
    for path in ledger.root.rglob("*"):
        if path.is_file():
            before = path.stat()
            times = (before.st_atime_ns, before.st_mtime_ns - seconds * 10**9)
            os.utime(path, ns=times)


def test_a_site_is_made_again_only_when_something_changed(
    ledger, fill, tmp_path, capsys, make_record
):
    out = tmp_path / "site"
    words = ["leaderboard", "--ledger", str(ledger.root), "--out", str(out)]
    experiment = fill(TABLE, without=["c"])
    make_old(ledger)

    def printed() -> str:
        main(words)
        return capsys.readouterr().out

    first = printed()
    assert "wrote" in first

    def files() -> dict[str, tuple[bytes, int]]:
        found = (path for path in out.rglob("*") if path.is_file())
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in found}

    before = files()
    again = printed()
    assert "nothing changed" in again
    assert again.splitlines()[:-1] == first.splitlines()[:-1]
    assert main(words) == 3  # still incomplete
    capsys.readouterr()
    assert files() == before
    (out / "synthetic.csv").write_text("tampered")
    assert "wrote" in printed()
    assert (out / "synthetic.csv").read_bytes() == before["synthetic.csv"][0]
    ledger.put(experiment, make_record(experiment, "c", TABLE["c"]))
    assert "wrote" in printed()
    assert "wrote" in printed()  # a ledger that may still be changing leaves no stamp
    make_old(ledger)
    assert "wrote" in printed()
    assert "nothing changed" in printed()
    assert main([*words, "--rebuild"]) == 0
    assert "wrote" in capsys.readouterr().out


def test_another_version_of_the_code_makes_the_site_again(
    ledger, fill, tmp_path, capsys, monkeypatch
):
    words = ["leaderboard", "--ledger", str(ledger.root), "--out", str(tmp_path / "site")]
    fill(TABLE)
    make_old(ledger)
    assert main(words) == main(words) == 0
    assert "nothing changed" in capsys.readouterr().out
    monkeypatch.setattr("results.leaderboard.stamp.of_source", lambda: "other")
    assert main(words) == 0
    assert "nothing changed" not in capsys.readouterr().out


def test_the_fingerprint_changes_with_a_divergence(ledger, fill, monkeypatch):
    monkeypatch.setattr(stamp, "SETTLED_S", -60)  # no file is too new
    experiment = fill(TABLE, without=["c"])
    old = of_ledger(ledger.root)
    assert old is not None
    ledger.put_divergence(experiment, Divergence(experiment.digest, "c", 3, "diverged", {}))
    assert of_ledger(ledger.root) not in (None, old)


def test_the_fingerprint_changes_with_what_is_written(ledger, fill, monkeypatch):
    experiment = fill(TABLE)
    assert of_ledger(ledger.root) is None  # too new to be trusted
    make_old(ledger)
    old = of_ledger(ledger.root)
    assert old is not None
    assert of_ledger(ledger.root) == old
    (ledger.root / ".ray" / "x").mkdir(parents=True)  # of another program
    assert of_ledger(ledger.root) == old
    (ledger.root / ".studies" / "x").mkdir(parents=True)  # a search has a page
    assert of_ledger(ledger.root) not in (None, old)
    (ledger.root / ".studies" / "x").rmdir()
    with monkeypatch.context() as patch:
        patch.setattr(stamp, "_MANY", 1)
        assert of_ledger(ledger.root, processes=2) == old
    path = ledger.fold_path(experiment, "a")
    path.write_text(path.read_text())
    assert of_ledger(ledger.root) is None
    os.utime(path, (-(10**9), -(10**9)))  # before 1970
    assert of_ledger(ledger.root) not in (None, old)
    os.utime(path, (2**35, 2**35))  # far in the future
    assert of_ledger(ledger.root) is None
    assert of_ledger("/nowhere") is None
