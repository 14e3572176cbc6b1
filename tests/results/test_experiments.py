"""The commands that keep house in a ledger: runs, rename, rm, du."""

import io
import os
import time

import pytest

from results.__main__ import main
from results.experiments import size_text, sizes_of
from results.leaderboard.names import given_name

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(ledger, *words: str) -> int:
    return main([*words, "--ledger", str(ledger.root)])


def test_runs_lists_what_there_is(ledger, fill, capsys):
    done = fill(GOOD, dataset="casme2", method="done")
    half = fill(GOOD, method="half", without=["b"])
    assert run(ledger, "runs") == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = (line.split() for line in lines if done.digest in line)
    (second,) = (line.split() for line in lines if half.digest in line)
    assert first[:5] == ["done", done.digest, "casme2", "3/3", "0.822"]
    assert second[:5] == ["half", half.digest, "synthetic", "2/3", "\N{EN DASH}"]
    size = sum(p.stat().st_size for p in ledger.folder(done).rglob("*") if p.is_file())
    assert " ".join(first[5:7]) == size_text(size).replace("\N{NO-BREAK SPACE}", " ")
    assert run(ledger, "runs", "--dataset", "casme2") == 0
    assert half.digest not in capsys.readouterr().out


def test_rename_names_an_experiment_and_refuses_a_taken_name(ledger, fill, capsys):
    one, two = fill(GOOD, method="one"), fill(GOOD, method="two")
    assert run(ledger, "rename", one.digest[:8], "ours") == 0
    assert given_name(ledger, one) == "ours"
    assert run(ledger, "rename", "two", "ours") == 2
    assert f"'ours' is the name of {one.digest}" in capsys.readouterr().err
    assert given_name(ledger, two) is None
    assert run(ledger, "rename", "ours", "theirs") == 0
    assert given_name(ledger, one) == "theirs"
    assert run(ledger, "predictions", "theirs") == 0  # every command finds it so
    assert run(ledger, "predictions", "--experiment", "theirs") == 0


def test_rm_asks_on_a_terminal(ledger, fill, capsys, monkeypatch):
    experiment, other = fill(GOOD, method="one"), fill(GOOD, method="two")
    for answer, status in (("\n", 2), ("n\n", 2), ("y\n", 0)):
        assert ledger.folder(experiment).exists()
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        assert run(ledger, "rm", "one") == status
    assert not ledger.folder(experiment).exists()
    assert ledger.folder(other).exists()
    assert "3 of 3 folds" in capsys.readouterr().out


def test_rm_without_a_terminal_needs_yes(ledger, fill, capsys, monkeypatch):
    experiment = fill(GOOD)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(ledger, "rm", experiment.digest) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected --yes" in line
    assert ledger.folder(experiment).exists()
    assert run(ledger, "rm", experiment.digest, "--yes") == 0
    assert not ledger.folder(experiment).exists()


def test_rm_refuses_while_a_run_makes_folds(ledger, fill, capsys):
    experiment = fill(GOOD, without=["b"])
    owner = ledger.folder(experiment) / "claims" / "owners" / "machine-1-x.json"
    owner.parent.mkdir(parents=True)
    owner.write_text("{}")
    assert run(ledger, "rm", experiment.digest, "--yes") == 2
    assert "a run makes folds" in capsys.readouterr().err
    old = time.time() - 120
    os.utime(owner, (old, old))
    assert run(ledger, "rm", experiment.digest, "--yes") == 0


def test_du_counts_every_file_once(ledger, fill, capsys):
    experiment = fill(GOOD)
    weights = ledger.folder(experiment) / "weights" / "a.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"x" * 2_500_000)
    sizes = sizes_of(ledger)[f"synthetic/{experiment.digest}"]
    assert sizes["weights"] == 2_500_000
    files = [path for path in ledger.root.rglob("*") if path.is_file()]
    assert sum(sizes.values()) == sum(path.stat().st_size for path in files)
    assert run(ledger, "du") == 0
    out = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    assert out.count("2.5 MB") == 4  # weights and total, of the experiment and of all


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123_456, "123 kB"), (2_500_000_000, "2.5 GB")],
)
def test_sizes_for_people(size, text):
    assert size_text(size).replace("\N{NO-BREAK SPACE}", " ") == text
