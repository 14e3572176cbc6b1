"""Ends of real runs on a Ray of their own: no process is left, one line says why."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.workers.guard import left_of
from tests.build.runs import LAST_S, run_words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STATES = "checkpoints/*.pt"


class Run:
    """A run in a process of its own, with its folder of Ray."""

    def __init__(self, site: Path, root: Path, **environment: str) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="ends-", dir="/tmp"))
        self.log, self.ledger = root / "log", root / "runs"
        words = run_words(
            site, self.ledger, "--epochs", "400", "--checkpoint-every", "1", "--workers", "1"
        )
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.run_loso", *words],
                env={**os.environ, "RAY_TMPDIR": str(self.scratch), **environment},
                stdout=log,
                stderr=log,
            )

    @property
    def folder(self) -> Path:
        """Ray's folder of this run."""
        [folder] = self.scratch.glob("dadnet-*/??????")
        return folder

    def processes(self) -> list[int]:
        """All processes of its Ray; the driver is not one."""
        return [pid for pid in left_of(str(self.folder)) if pid != self.process.pid]

    def named(self, name: str) -> int:
        """The process of its Ray whose command line has this name."""
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in self.processes()}
        [pid] = [pid for pid, words in commands.items() if name in words.partition("\0")[0]]
        return pid

    def stop_one_that_only_the_guard_ends(self) -> None:
        """Ray's other processes end by themselves a minute after their driver; one that is stopped
        does not."""
        for pid in self.processes():
            if "log_monitor" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGSTOP)
                return
        raise AssertionError("no monitor of Ray's logs")

    def wait_for(self, condition: Callable[[], object], seconds: float = LAST_S) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def is_training(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return any(self.ledger.rglob(STATES))

    def last_event(self) -> dict:
        [log] = self.ledger.rglob("events.jsonl")
        return json.loads(log.read_text().splitlines()[-1])


@contextmanager
def training(site: Path, root: Path, **environment: str) -> Iterator[Run]:
    """A run that has begun to train; nothing of it is left afterwards."""
    run = Run(site, root, **environment)
    try:
        run.wait_for(run.is_training)
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        if any(run.scratch.iterdir()):
            for pid in run.processes():
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(run.scratch, ignore_errors=True)


def test_a_lost_head_is_one_line_an_event_and_status_3(site, tmp_path):
    with training(site, tmp_path) as run:
        os.kill(run.named("gcs_server"), signal.SIGKILL)
        assert run.process.wait(LAST_S) == 3
        lines = run.log.read_text().splitlines()
        assert lines[-1].startswith("error: the head of the Ray cluster at 127.0.0.1:")
        assert "is lost; what is finished is kept" in lines[-1]
        assert "Traceback" not in run.log.read_text()
        assert run.last_event()["event"] == "ended"
        assert run.last_event()["why"] == "HeadLostError"
        run.wait_for(lambda: not run.processes())


@pytest.mark.parametrize("waits", [True, False])
def test_further_ctrl_c_while_a_run_leaves_changes_nothing(site, tmp_path, waits):
    with training(site, tmp_path) as run:
        run.process.send_signal(signal.SIGINT)
        if waits:
            run.wait_for(lambda: "interrupted; finished folds" in run.log.read_text())
        while run.process.poll() is None:
            run.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert run.process.wait() == 3
        text = run.log.read_text()
        assert "Traceback" not in text
        assert "interrupted; finished folds and checkpoints are kept" in text
        assert run.last_event()["event"] == "ended"
        run.wait_for(lambda: not run.processes())


def test_runs_side_by_side_have_rays_of_their_own_of_which_nothing_is_left(site, tmp_path):
    from orchestration.workers import ray_internals

    for name in "ab":
        (tmp_path / name).mkdir()
    before = set(ray_internals._heads_here())
    with training(site, tmp_path / "a") as one, training(site, tmp_path / "b") as two:
        assert set(ray_internals._heads_here()) <= before
        for run in (one, two):
            assert stat.S_IMODE(run.folder.parent.stat().st_mode) == 0o700
            assert run.named("raylet/raylet")
        one.stop_one_that_only_the_guard_ends()
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(LAST_S) == 3
        one.wait_for(lambda: not one.processes())
        assert two.is_training()
        assert two.processes()
        two.stop_one_that_only_the_guard_ends()
        two.process.send_signal(signal.SIGKILL)
        assert two.process.wait(LAST_S) == -signal.SIGKILL
        two.wait_for(lambda: not two.processes())


def test_a_process_that_leaves_its_ray_and_starts_another_lives_on():
    code = """
import time, ray
from orchestration.workers.connection import connect
connect(1)
ray.shutdown()
connect(1)
time.sleep(10)  # longer than a head may be silent
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
