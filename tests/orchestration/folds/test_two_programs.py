"""An experiment that another version of the program has begun."""

import pytest

from orchestration import run_loso
from orchestration.folds import make as work
from results.leaderboard.ranking import leaderboard
from results.ledger.ledger import Ledger
from tests.build.runs import storage_words


@pytest.fixture
def begun(site, tmp_path, monkeypatch, capsys):
    """Flags of an experiment of which another program has made two folds."""
    words = storage_words(site / "flows", tmp_path / "runs")
    with monkeypatch.context() as before:
        before.setattr(work, "code_digest", lambda: "0" * 16)
        work._versions.cache_clear()
        only = ["--only", "synthetic/sub01,synthetic/sub02"]
        assert run_loso.main([*words, *only]) == 3
        work._versions.cache_clear()
    capsys.readouterr()
    return words


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_going_on_is_warned_of_in_one_line_and_the_board_says_so(begun, tmp_path, capsys):
    assert run_loso.main(begun) == 0
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("warning: ")]
    assert "2 of 2 finished folds were made by another version of the program (code 0000" in line
    note = leaderboard(Ledger(tmp_path / "runs")).groups[0].rows[0].note
    assert note.startswith("made by 2 versions: code 0000000000000000 (2 folds), ")
    assert note.endswith(" (3 folds)")

    assert run_loso.main([*begun, "--strict"]) == 0  # nothing is left to make
    assert "warning: " not in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--workers", "2"]])
def test_strict_refuses_before_anything_runs(begun, tmp_path, capsys, more, monkeypatch):
    monkeypatch.setattr(run_loso, "make_missing", lambda *_: pytest.fail("it ran"))
    before = files(tmp_path)
    assert run_loso.main([*begun, "--strict", *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: strict: 2 of 2 finished folds were made by another version")
    assert error.count("\n") == 1
    assert files(tmp_path) == before


def test_strict_lets_fresh_make_all_again(begun, tmp_path):
    assert run_loso.main([*begun, "--strict", "--fresh"]) == 0
    assert leaderboard(Ledger(tmp_path / "runs")).groups[0].rows[0].note is None


def test_a_record_of_an_older_version_has_no_code_and_counts_as_another_program(
    begun, tmp_path, capsys
):
    ledger = Ledger(tmp_path / "runs")
    [experiment] = ledger.experiments()
    for record in ledger.records(experiment):
        ledger.fold_path(experiment, record.fold).unlink()
        ledger.put(experiment, record.replace(host={"pid": 1}))
    assert run_loso.main(begun) == 0
    assert "(code unknown; here it is " in capsys.readouterr().out
    [row] = leaderboard(ledger).groups[0].rows
    assert "made by 2 versions: " in row.note
