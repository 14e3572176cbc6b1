"""The console script: every verb leads to its command."""

from pathlib import Path

import pytest

from dadnet.datasets.copies import write_copy
from orchestration import main as console


@pytest.mark.parametrize("verb", console._VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        console.main([verb, "--help"])
    assert stop.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["predict", "convert", "export", "teacher", "loso"])
def test_bad_words_are_exit_status_2(verb, capsys):
    assert console.main([verb, "--nonsense", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_an_unknown_verb_lists_those_there_are(capsys):
    assert console.main(["prophesy"]) == 2
    shown = capsys.readouterr().err
    assert all(verb in shown for verb in ("predict", "convert", "export"))


def test_the_doctor_is_a_verb_of_the_console_script(tmp_path: Path, capsys):
    write_copy("samm", tmp_path / "samm", size=0)
    assert console.main(["doctor", "--dataset", "samm", "--root", str(tmp_path / "samm")]) == 3
    assert capsys.readouterr().out.startswith(f"samm in {tmp_path / 'samm'}\n")
