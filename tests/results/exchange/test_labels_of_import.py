"""Words and numbers of classes in a foreign table, read through ``--labels``."""

from pathlib import Path

import pytest

from results.__main__ import main
from results.ledger.ledger import Ledger

MEANINGS = ("surprise", "negative", "positive")
FLAG = "0=surprise,1=negative,2=positive"
# subject, clip, truth, prediction
ROWS = (
    ("s1", "a", 1, 0),
    ("s1", "b", 0, 0),
    ("s2", "a", 2, 2),
    ("s2", "b", 0, 0),
    ("s3", "a", 2, 0),
)
CHANCES = ("0.8,0.1,0.1", "0.1,0.8,0.1", "0.1,0.1,0.8")


def table(folder: Path, probabilities: bool) -> Path:
    header = "subject,clip,label,prediction" + ",prob_0,prob_1,prob_2" * probabilities
    lines = [",".join(map(str, row)) + f",{CHANCES[row[3]]}" * probabilities for row in ROWS]
    path = folder / "theirs.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def run(path: Path, labels: str) -> int:
    words = ["import", str(path), "--method", "Theirs", "--dataset", "mine", "--protocol", "loso"]
    return main([*words, "--ledger", str(path.parent / "ledger"), "--labels", labels])


@pytest.mark.parametrize("probabilities", [False, True])
def test_numbers_are_read_in_the_order_of_the_file(tmp_path: Path, capsys, probabilities: bool):
    assert run(table(tmp_path, probabilities), FLAG) == 0
    assert "note: labels: 0 is surprise, 1 is negative, 2 is positive" in capsys.readouterr().out
    ledger = Ledger(tmp_path / "ledger")
    [experiment] = ledger.experiments()
    assert experiment.classes == ("negative", "positive", "surprise")
    found = [
        (row.label, row.prediction, row.probabilities)
        for record in ledger.records(experiment)
        for row in record.predictions
    ]
    chances = [tuple(0.8 if MEANINGS[p] == name else 0.1 for name in experiment.classes)
               for *_, p in ROWS]  # fmt: skip
    assert found == [
        (MEANINGS[t], MEANINGS[p], chances[k] if probabilities else None)
        for k, (_, _, t, p) in enumerate(ROWS)
    ]


def test_a_number_without_a_meaning_is_one_line(tmp_path: Path, capsys):
    assert run(table(tmp_path, False), "0=surprise,1=negative") == 2
    error = capsys.readouterr().err
    assert "labels: expected a meaning of 0, 1 and 2, which is in the column label of" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ledger").exists()
