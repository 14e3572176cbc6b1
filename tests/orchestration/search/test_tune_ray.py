"""Searches on Ray in separate processes: killed drivers and workers, databases, a dashboard."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from orchestration import tune
from results.ledger.studies import StudyLedger, StudyRecord
from tests.build.runs import LAST_S, below, is_alive, tune_words, wait_until

KILLS = int(os.environ.get("DADNET_KILLS", "2"))
TRIALS = KILLS + 4  # one to four folds of five are made between two kills
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 + 300 * KILLS)]
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def study_words(site: Path, root: Path, *more: str) -> list[str]:
    """Enough trials to be killed in; one at a time on Ray, for equality."""
    return tune_words(
        site, root, "--num-trials", str(TRIALS), "--epochs", "8", "--checkpoint-every", "2",
        "--concurrent-trials", "1", "--space", "alignment", *more,
    )  # fmt: skip


@contextmanager
def search(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """The command in a separate process group, which is ended afterwards."""
    with log.open("a") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.tune", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def the_study(root: Path) -> StudyRecord:
    [study] = StudyLedger(root / "runs").studies()
    return study


def seen(record: StudyRecord) -> list[tuple]:
    rows = [(t.number, t.state, t.params, t.values, t.num_folds, t.val_uf1) for t in record.trials]
    return [*rows, record.winner, record.scored]


def val_sides(root: Path) -> int:
    return len(list((root / "runs").rglob("*.val.json")))


@pytest.fixture(scope="module")
def undisturbed(site, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    assert tune.main(study_words(site, root, "--workers", "0")) == 0
    return the_study(root)


def test_kills_of_driver_and_workers_change_nothing(site, tmp_path, undisturbed):
    """Kills at random points of one study; then it is given again until it ends."""
    words = study_words(site, tmp_path, "--workers", "2")
    log, draws = tmp_path / "log", random.Random(4)
    for number in range(KILLS):
        made = val_sides(tmp_path)
        with search(words, log) as process:
            target = made + draws.randint(1, 3)
            wait_until(
                lambda target=target, process=process: (
                    val_sides(tmp_path) >= target or process.poll() is not None
                ),
                LAST_S,
                log,
            )
            assert process.poll() is None, f"over after {number} kills: {log.read_text()}"
            time.sleep(draws.random())
            if number % 2:
                events = (tmp_path / "runs" / ".studies" / "events.jsonl").read_text()
                logged = [json.loads(line) for line in events.splitlines()]
                worker = [event["worker"] for event in logged if "worker" in event][-1]
                os.kill(int(worker.split("-")[1]), signal.SIGKILL)
                time.sleep(1 + draws.random())
            rays = set(below(process.pid))
            process.kill()
            process.wait()
        wait_until(lambda rays=rays: not any(map(is_alive, rays)), LAST_S, log)
    assert tune.main([*words, "--workers", "0"]) == 0
    study = the_study(tmp_path)
    assert seen(study) == seen(undisturbed)
    [name] = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'runs' / 'studies.db'}")
    stored = optuna.load_study(
        study_name=name, storage=f"sqlite:///{tmp_path / 'runs' / 'studies.db'}"
    )
    assert {trial.state.is_finished() for trial in stored.trials} == {True}
    assert len(stored.trials) == TRIALS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(
    words: list[str], log: Path, stop: signal.Signals = signal.SIGTERM, **options
) -> Iterator[subprocess.Popen]:
    with log.open("w") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, **options)
        try:
            yield process
        finally:
            process.send_signal(stop)
            process.wait(LAST_S)


def ask(port: int, path: str) -> dict:
    address = f"http://127.0.0.1:{port}{path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=LAST_S) as answer:
        return json.load(answer)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def test_optuna_dashboard_shows_the_study(site, tmp_path):
    words = tune_words(site, tmp_path, "--num-trials", "2")
    assert tune.main(words) == 0
    study = the_study(tmp_path)
    port, log = free_port(), tmp_path / "log"
    storage = f"sqlite:///{tmp_path / 'runs' / 'studies.db'}"
    command = [
        sys.executable, "-c", "from optuna_dashboard._cli import main; main()",
        storage, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with server(command, log):
        wait_until(lambda: answers(port), LAST_S, log)
        [found] = ask(port, "/api/studies")["study_summaries"]
        assert found["study_name"] == study.name
        detail = ask(port, f"/api/studies/{found['study_id']}")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete", "Complete"]
        assert [trial["values"][0] for trial in detail["trials"]] == [
            pytest.approx(trial.values[0]) for trial in study.trials
        ]


@pytest.fixture
def postgres(tmp_path) -> Iterator[str]:
    """A PostgreSQL server of this test, on loopback, as a user that is not root."""
    if not POSTGRES:
        pytest.skip("postgresql is not installed")
    folder = POSTGRES[-1].parent
    # Its data must belong to whoever runs it, and it refuses to run as root.
    home = Path(f"/tmp/dadnet-postgres-{os.getpid()}")
    home.mkdir()
    if os.geteuid() == 0:
        shutil.chown(home, "postgres", "postgres")
    run_as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    port = free_port()
    subprocess.run(
        [folder / "initdb", "-D", home / "data", "-U", "dadnet", "--auth=trust", "-E", "UTF8"],
        check=True, capture_output=True, cwd="/", **run_as,
    )  # fmt: skip
    command = [
        str(folder / "postgres"), "-D", str(home / "data"), "-h", "127.0.0.1", "-p", str(port),
        "-k", str(home), "-F",
    ]  # fmt: skip
    try:
        # SIGINT: it ends without waiting for its clients.
        with server(command, tmp_path / "postgres.log", signal.SIGINT, cwd="/", **run_as):
            wait_until(lambda: answers(port), LAST_S, tmp_path / "postgres.log")
            yield f"postgresql+psycopg://dadnet@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_study_in_postgresql_is_that_of_sqlite_and_two_do_not_mix(site, tmp_path, postgres):
    words = ["--num-trials", "3", "--study-storage", postgres]
    assert tune.main(tune_words(site, tmp_path / "here", "--num-trials", "3")) == 0
    roots = [tmp_path / "one", tmp_path / "two"]
    log = tmp_path / "log"
    others = tune_words(site, roots[1], *words, "--seed", "7")
    with search(others, log) as process:  # at the same time, on the same storage
        assert tune.main(tune_words(site, roots[0], *words)) == 0
        assert process.wait(LAST_S) == 0, log.read_text()
    assert seen(the_study(roots[0])) == seen(the_study(tmp_path / "here"))
    storage = optuna.storages.RDBStorage(postgres)
    names = optuna.get_all_study_names(storage)
    assert sorted(names) == sorted(the_study(root).name for root in roots)
    for root in roots:
        stored = optuna.load_study(study_name=the_study(root).name, storage=storage)
        assert [trial.number for trial in stored.trials] == [0, 1, 2]
        assert {trial.state.is_finished() for trial in stored.trials} == {True}
    storage.remove_session()
    storage.engine.dispose()
