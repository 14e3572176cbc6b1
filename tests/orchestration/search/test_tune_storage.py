"""A search whose ledger is on object storage; its database is elsewhere."""

import optuna
import pytest

from dadnet.base.location import location
from orchestration import tune
from orchestration.search.storage import lock, open_storage, storage_url
from results.ledger.ledger import Ledger
from results.ledger.records import comparable
from results.ledger.studies import StudyLedger
from tests.build.runs import tune_words
from tests.servers.s3 import SECRET


def words(site, root, ledger: str, *more: str) -> list[str]:
    args = tune_words(site, root, *more)
    args[args.index("--ledger") + 1] = ledger
    return args


def outcome(ledger) -> tuple:
    """The trials with their values, the winner, and its records."""
    [study] = StudyLedger(ledger).studies()
    records = Ledger(ledger)
    [experiment] = records.experiments()
    return (
        [(trial.params, trial.values, trial.state) for trial in study.trials],
        study.winner,
        [comparable(record) for record in records.records(experiment)],
    )


def test_without_a_database_it_is_refused_in_one_line(site, tmp_path, s3, capsys):
    assert tune.main(words(site, tmp_path, s3.uri("tune/none"))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: study_storage: a ledger on object storage (s3://lab/tune/none")
    assert "expected --study-storage" in error
    assert error.count("\n") == 1
    assert s3.content("tune/none") == {}


def test_the_study_is_that_of_a_folder_and_goes_on(site, tmp_path, s3, capsys):
    assert tune.main(tune_words(site, tmp_path / "folder")) == 0
    storage = f"sqlite:///{tmp_path}/studies.db"
    ledger = s3.uri("tune/whole")
    args = words(site, tmp_path, ledger, "--study-storage", storage)
    s3.fail(
        {"method": "PUT", "kind": "500", "times": 5}, {"method": "GET", "kind": "500", "times": 3}
    )
    assert tune.main(args) == 0
    assert outcome(ledger) == outcome(tmp_path / "folder" / "runs")
    stored = s3.content("tune/whole")
    assert any("/.studies/events/" in name for name in stored)
    assert not any("/searched/" in name or "/owners/" in name for name in stored)
    assert not any(SECRET.encode() in data for data in stored.values())
    capsys.readouterr()
    assert tune.main(args) == 0  # nothing is trained again
    assert not any(line.startswith("trial ") for line in capsys.readouterr().out.splitlines())
    more = [*args[: args.index("--num-trials")], *args[args.index("--num-trials") + 2 :]]
    assert tune.main([*more, "--num-trials", "4"]) == 0
    assert len(StudyLedger(ledger).studies()[0].trials) == 4


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_lock_is_held_by_one_and_is_free_afterwards(where, tmp_path, s3):
    folder = location(s3.uri("tune/locks") if where == "s3" else tmp_path / "locks")
    first = lock(folder, "lock", wait=False)
    assert first is not None
    assert lock(folder, "lock", wait=False) is None
    other = lock(folder, "another", wait=False)
    assert other is not None
    first.close()
    again = lock(folder, "lock", wait=True)
    assert again is not None
    assert lock(folder, "lock", wait=False) is None
    again.close()
    other.close()


@pytest.mark.parametrize("name", ["a?1", "a#b", "50%41", "a b", "plain"])
def test_the_database_lies_in_the_ledger_whatever_its_name(name, tmp_path):
    ledger = tmp_path / name
    study = optuna.create_study(storage=open_storage(storage_url(ledger, None)), study_name="s")
    assert (ledger / "studies.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert optuna.get_all_study_names(open_storage(storage_url(ledger, None))) == [study.study_name]
