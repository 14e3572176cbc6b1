"""Several processes at one ledger: exactly one record per fold, and never a lost one."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from results.ledger import files
from results.ledger.ledger import LedgerWarning

TABLE = {"casme2/sub01": ["n>n", "p>s"], "casme2/sub02": ["s>s"]}

RACER = """
import sys, time
from pathlib import Path
from results.ledger.ledger import Ledger
from results.ledger.records import Experiment, FoldRecord
root, start, record_path, experiment_path = map(Path, sys.argv[1:])
experiment = Experiment.from_json(experiment_path.read_text())
record = FoldRecord.from_json(record_path.read_text())
print("ready", flush=True)
while not start.exists():
    pass
ledger = Ledger(root)
ledger.open(experiment)
print(int(ledger.put(experiment, record)), flush=True)
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_race_and_exactly_one_wins(
    tmp_path, ledger, make_experiment, make_record, damaged
):
    experiment = make_experiment(TABLE)
    (tmp_path / "experiment.json").write_text(experiment.to_json())
    path = ledger.fold_path(experiment, "casme2/sub01")
    if damaged:  # both find it, and the quicker one's record must survive the slower one
        path.parent.mkdir(parents=True)
        path.write_text("{")
    racers = []
    texts = []
    for number in range(2):
        record = make_record(
            experiment, "casme2/sub01", TABLE["casme2/sub01"], host={"racer": number}
        )
        texts.append(record.to_json() + "\n")
        (tmp_path / f"{number}.json").write_text(texts[-1])
        arguments = [ledger.root, tmp_path / "start", tmp_path / f"{number}.json"]
        racers.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", RACER, *arguments, "experiment.json"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            )
        )
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    (tmp_path / "start").touch()
    wins = [int(racer.communicate(timeout=300)[0]) for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    assert sum(wins) == 1
    assert path.read_text() == texts[wins.index(1)]
    assert not list(ledger.root.rglob("*.tmp"))


def test_a_new_record_survives_the_slow_discoverer_of_an_old_damage(ledger, fill, monkeypatch):
    experiment = fill(TABLE)
    path = ledger.fold_path(experiment, "casme2/sub01")
    good = path.read_bytes()
    read = files.bytes_of

    def read_what_was_there_before(asked: Path) -> bytes | None:
        return b"{" if asked == path else read(asked)

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", LedgerWarning)
        patch.setattr(files, "bytes_of", read_what_was_there_before)
        ledger.set_damage_aside(experiment)
    assert path.read_bytes() == good
    assert ledger.missing(experiment) == ()
