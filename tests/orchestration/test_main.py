from pathlib import Path

import pytest

from dadnet.datasets.copies import write_copy
from orchestration.main import main


def test_the_doctor_is_a_verb_of_the_console_script(tmp_path: Path, capsys):
    write_copy("samm", tmp_path / "samm", size=0)
    assert main(["doctor", "--dataset", "samm", "--root", str(tmp_path / "samm")]) == 3
    assert capsys.readouterr().out.startswith(f"samm in {tmp_path / 'samm'}\n")


@pytest.mark.parametrize(("words", "status"), [([], 2), (["cure"], 2), (["--help"], 0)])
def test_without_a_verb_the_verbs_are_listed(words: list[str], status: int, capsys):
    assert main(words) == status
    assert "doctor" in capsys.readouterr().err
