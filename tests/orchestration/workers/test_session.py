"""The private folder of a run's own Ray, and the guard that ends what Ray leaves behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dadnet.base.errors import DadnetError
from orchestration.workers import guard, session
from tests.build.runs import LAST_S, wait_until

# Keeps a folder as a run does, until its standard input is closed.
RUN = """
import sys
from orchestration.workers import session
print(session.private_folder(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def scratch(monkeypatch) -> Iterator[Path]:
    """A short temporary folder; that of pytest is too long for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def is_ignored(pid: int, number: int) -> bool:
    """Whether a process ignores a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [line.split()[1] for line in lines if line.startswith("SigIgn:")]
    return bool(int(mask, 16) >> number - 1 & 1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_no_other_user_can_enter_the_folder_and_no_run_has_that_of_another(scratch):
    before = os.umask(0)
    try:
        one, two = session.private_folder(), session.private_folder()
    finally:
        os.umask(before)
    assert one.parent == two.parent == scratch / f"dadnet-{os.getuid()}"
    assert one != two
    assert (one.parent / session.LAST_RUN).resolve() == two
    assert {mode(one.parent), mode(one), mode(two)} == {0o700}
    assert session.is_of_a_run(str(one / "session_x" / "sockets" / "raylet"))
    assert not session.is_of_a_run("/tmp/ray/session_x/sockets/raylet")


def test_an_open_folder_of_this_user_is_closed(scratch):
    parent = scratch / f"dadnet-{os.getuid()}"
    parent.mkdir()
    parent.chmod(0o777)
    session.private_folder()
    assert mode(parent) == 0o700


def test_a_link_in_the_place_of_the_folder_is_not_followed(scratch, tmp_path):
    (scratch / f"dadnet-{os.getuid()}").symlink_to(tmp_path)
    folder = session.private_folder()
    assert list(tmp_path.iterdir()) == []
    assert folder.parent.parent == scratch
    assert mode(folder.parent) == 0o700
    assert session.is_of_a_run(str(folder))


def test_sockets_fit_into_any_folder_of_the_user(scratch, monkeypatch):
    longest = Path("/tmp") / ("n" * (session._LONGEST - 5))
    longest.mkdir(exist_ok=True)
    try:
        monkeypatch.setenv("RAY_TMPDIR", str(longest))
        folder = session.private_folder()
        assert folder.is_relative_to(longest)
        assert len(f"{folder}{session._SOCKET}") == 107
        monkeypatch.setenv("RAY_TMPDIR", f"{longest}n")
        folder = session.private_folder()
        assert folder.parent == Path(f"/tmp/dadnet-{os.getuid()}")
        shutil.rmtree(folder)
    finally:
        shutil.rmtree(longest)


def test_only_old_folders_of_runs_that_have_ended_are_removed(scratch):
    def begin() -> tuple[subprocess.Popen, Path]:
        run = subprocess.Popen(
            [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert run.stdout is not None
        return run, Path(run.stdout.readline().strip())

    (alive, kept), (ended, old), (new_ended, new) = begin(), begin(), begin()
    ended.kill()
    new_ended.kill()
    ended.communicate()
    new_ended.communicate()
    day_ago = time.time() - session.KEPT_S - 1
    for folder in (kept, old):
        os.utime(folder, (day_ago, day_ago))
    session.private_folder()
    assert (kept.exists(), old.exists(), new.exists()) == (True, False, True)
    alive.communicate("")


def test_a_folder_that_cannot_be_made_is_one_line_with_the_remedy(scratch, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    with pytest.raises(DadnetError, match="set RAY_TMPDIR to a short path") as error:
        session.private_folder()
    assert "\n" not in str(error.value)


def test_the_guard_ends_what_is_left_when_the_driver_has_ended(scratch):
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    marked = {**os.environ, session.FOLDER: f"{scratch}/mine/"}
    others = [
        subprocess.Popen(sleep, env={**os.environ, session.FOLDER: f"{scratch}/mine2/"}),
        subprocess.Popen([*sleep, f"{scratch}/mine/logs/raylet.out"]),  # a user reads a log
    ]
    left = [
        subprocess.Popen([*sleep, "lib/ray/dashboard.py", f"--dir={scratch}/mine/x"]),
        subprocess.Popen(sleep, env=marked),
    ]
    watch = subprocess.Popen([sys.executable, guard.__file__, f"{scratch}/mine"], stdin=-1)
    try:
        wait_until(lambda: is_ignored(watch.pid, signal.SIGTERM), LAST_S)
        watch.send_signal(signal.SIGTERM)  # it is to outlive what ends the driver
        assert [process.poll() for process in left] == [None, None]
        watch.communicate()
        assert [process.wait(LAST_S) for process in left] == [-signal.SIGKILL] * 2
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in (*others, *left, watch):
            process.kill()
            process.wait()
