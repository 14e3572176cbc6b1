"""Flags from dataclasses; every error of the user's is one line and exit status 2."""

import errno
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from dadnet.base import cli
from dadnet.base.errors import DadnetError


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Flags of a test."""

    ledger: Path
    """Folder."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    number: int = 1
    """Number."""
    stages: tuple[int, ...] = (2, 3)
    """Stages."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise DadnetError(f"number: expected 1 or more, got {self.number}")


def run(flags: Flags) -> int:
    print(flags.number, *flags.stages)
    return cli.INCOMPLETE


def status_of(*words: str) -> int:
    return cli.Command("dadnet test", Flags).run(run, words, "A test.")


def test_the_status_is_that_of_the_command(capsys):
    assert status_of("--ledger", "runs", "--stages", "1", "--number", "3") == 3
    assert capsys.readouterr().out == "3 1\n"


# These texts are read from the box that tyro prints: they fail when tyro changes its box.
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "Missing from dadnet test: --ledger PATH Folder. (required)"),
        (
            ("--ledger", "r", "--nimber=3"),
            "Unrecognized options: --nimber=3; did you mean --number?",
        ),
        (("--ledger", "r", "--number", "0"), "number: expected 1 or more, got 0"),
        (("--ledger", "r", "--kind", "c"), "kind: expected one of a, b, got 'c'"),
    ],
)
def test_bad_words_are_exactly_one_line(words, line, encoding, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert status_of(*words) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {line}"]


def test_a_uri_is_refused_where_a_path_is_expected(capsys):
    assert status_of("--ledger", "s3://lab/runs") == 2
    assert "expected a path on this machine, got s3://lab/runs" in capsys.readouterr().err


def test_help_has_the_description_and_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        status_of("--help")
    assert stop.value.code in (0, None)
    shown = capsys.readouterr().out
    assert "A test." in shown
    for word in ("--ledger PATH", "--kind {a,b}", "--number INT", "--stages INT,INT,..."):
        assert word in shown


def test_a_full_disk_is_one_line(capsys):
    def full(words: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/a")

    assert cli.run_command(full, []) == 2
    assert capsys.readouterr().err == (
        "error: storage: No space left on device (runs/a); what is finished is kept\n"
    )


@pytest.mark.parametrize("size", ["\N{SUPERSCRIPT ONE}", "1" * 5000, "-5", "", "x"])
def test_a_size_of_the_terminal_that_cannot_be_read_is_forgotten(monkeypatch, size):
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, size)
    assert cli.console().width > 0
    monkeypatch.setenv("COLUMNS", "123")
    assert cli.console().width == 123


def test_a_name_from_a_file_cannot_command_the_terminal(capsys):
    cli.console().print("clip \x1b[2J\x1b]0;title\x07\u202e of [bold]two[/bold] lines\n中文")
    assert capsys.readouterr().out == "clip ?[2J?]0;title?? of two lines\n中文\n"
