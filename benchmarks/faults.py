"""What a run survives: faults at random points, and the ledger afterwards.

`python -m benchmarks.faults --rounds 5 --faults worker driver sigterm raylet head`. Every round is
a run of its own on real processes, disturbed once, and given again where it ended. Its ledger must
equal that of a run that nobody disturbed, byte for byte but for times, hosts and tries; every fold
must have been finished once and by nobody in vain. Exit status 1 if a round did not hold.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import report
from benchmarks.loso import write_inputs
from dadnet.checkpoint import CheckpointFile
from orchestration.connection import on_loopback
from results.canonical import canonical_json
from results.ledger import Ledger
from results.records import comparable

SUBJECTS, CLIPS_EACH, SIZE, EPOCHS, WORKERS = 6, 6, 32, 40, 2
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
LAST_S = 300.0  # a command that takes longer hangs
GRACE_S = 30.0  # between SIGTERM and SIGKILL


class NotHeldError(AssertionError):
    """Something that had to hold did not."""


def check(holds: bool, what: str) -> None:
    """Raise `NotHeldError` unless it holds."""
    if not holds:
        raise NotHeldError(what)


@dataclass
class Round:
    """One ledger and the commands on it.

    Attributes:
        inputs: folder of flows and teacher.
        folder: of this round.
        draw: of its random points.
        checkpoint_every: epochs between two states.
        env: more variables for the commands.
    """

    inputs: Path
    folder: Path
    draw: random.Random
    checkpoint_every: int = 2
    env: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        """Where the folds are."""
        return self.folder / "runs"

    @contextmanager
    def command(self, workers: int | None = WORKERS) -> Iterator[subprocess.Popen[bytes]]:
        """The run's command, in a process group that is gone afterwards."""
        words = (
            f"--flows {self.inputs}/flows --ledger {self.ledger} --input-size {SIZE} "
            f"--epochs {EPOCHS} --checkpoint-every {self.checkpoint_every} "
            f"--macro-weights {self.inputs}/teacher.safetensors --num-projections 8"
        )
        if workers is not None:
            words += f" --workers {workers}"
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.run_loso", *words.split()],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "RAY_AUTH_MODE": "disabled", **self.env},
            )
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def finish(self, workers: int = WORKERS) -> None:
        """Give the command and wait for its good end."""
        with self.command(workers) as process:
            self.wait(process)

    def wait(self, process: subprocess.Popen[bytes], status: int = 0) -> None:
        """Wait for a command's end, which must have this status."""
        try:
            found = process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            raise NotHeldError(f"still running after {LAST_S:g} s: {self.tail()}") from None
        check(found == status, f"expected status {status}, got {found}: {self.tail()}")

    def until(self, condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
        """Wait for something; its value."""
        end = time.monotonic() + LAST_S
        while not (found := condition()):
            check(process.poll() is None, f"ended too early: {self.tail()}")
            check(time.monotonic() < end, f"waited in vain: {self.tail()}")
            time.sleep(0.02)
        return found

    def tail(self) -> str:
        """The end of what the commands said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def events(self) -> list[dict[str, Any]]:
        """Whole lines of the event log."""
        texts = [path.read_text() for path in self.ledger.rglob("events.jsonl")]
        return [json.loads(x) for text in texts for x in text[: text.rfind("\n") + 1].splitlines()]

    def running(self) -> dict[str, str]:
        """The worker of each fold in progress, by the event log."""
        found: dict[str, str] = {}
        for event in self.events():
            if event["event"] == "started":
                found[event["fold"]] = event["worker"]
            elif "fold" in event:
                found.pop(event["fold"], None)
        return found

    def random_worker(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Process id of a worker and its fold, at a random point of the run."""
        self.until(self.running, process)
        time.sleep(self.draw.uniform(0, 6))
        fold, worker = self.draw.choice(sorted(self.until(self.running, process).items()))
        return int(worker.split("-")[1]), fold

    def content(self) -> dict[str, str]:
        """What two ledgers must agree on, by fold."""
        ledger = Ledger(self.ledger)
        [experiment] = ledger.experiments()
        return {r.fold: canonical_json(comparable(r)) for r in ledger.records(experiment)}

    def check_against(self, undisturbed: dict[str, str]) -> None:
        """Check what must hold of a ledger after any fault."""
        check(self.content() == undisturbed, "the ledger differs from the undisturbed one")
        events = self.events()
        finished = Counter(e["fold"] for e in events if e["event"] == "finished")
        # A driver that is killed may not have told of a record that its workers wrote.
        check(max(finished.values()) == 1, f"finished more than once: {finished}")
        vain = [e for e in events if "finished by another worker" in str(e.get("message"))]
        check(not vain, f"trained twice to the end: {vain}")
        check(not list(self.ledger.rglob("quarantine/*")), "records were damaged")
        lost = ("returned", "yielded", "failed")
        self.notes["retries"] = sum(e["event"] in lost for e in events)


def kill_worker(this: Round) -> None:
    """SIGKILL of a worker."""
    with this.command() as process:
        pid, _ = this.random_worker(process)
        os.kill(pid, signal.SIGKILL)
        this.wait(process)


def kill_driver(this: Round) -> None:
    """SIGKILL of the driver, at any time from its start on; the same command again."""
    with this.command() as process:
        if this.draw.random() < 0.75:
            this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 8))
        this.notes["done_before"] = len(list(this.ledger.rglob("folds/*.json")))
        process.kill()
    time.sleep(3)  # Ray's processes see that their driver is gone
    this.finish()


def terminate_worker(this: Round) -> None:
    """SIGTERM to a worker, as before a preemption, SIGKILL 30 s later."""
    this.checkpoint_every = 10 * EPOCHS  # so that no other state is ever written
    with this.command() as process:
        pid, fold = this.random_worker(process)
        told_at = time.monotonic()
        os.kill(pid, signal.SIGTERM)

        def outcome() -> dict[str, Any] | None:
            found = [e for e in this.events() if e.get("fold") == fold and e["event"] != "started"]
            return found[0] if found else None

        event = this.until(outcome, process)
        seconds = time.monotonic() - told_at
        check(seconds < GRACE_S, f"the worker took {seconds:.1f} s to answer")
        this.notes["answer_s"] = seconds
        if event["event"] != "finished":  # else the signal came at the very end of the fold
            check(event["event"] == "yielded", f"expected the fold to be put back, got {event}")
            [experiment] = Ledger(this.ledger).experiments()
            path = Ledger(this.ledger).checkpoint_path(experiment, fold)
            state = CheckpointFile(path, experiment.digest, fold).load()
            told = event.get("info", {}).get("epoch", 0)
            check(state is not None, "no checkpoint was written")
            kept = 0 if state is None else state["epoch"]
            check(kept >= told, f"told of epoch {told}, kept {kept}")
            this.notes["kept_epoch"] = kept
        this.wait(process)


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def add_node(cluster: Any) -> Any:
    """One more raylet."""
    with on_loopback():
        return cluster.add_node(**NODE)


@contextmanager
def cluster(this: Round, nodes: int) -> Iterator[Any]:
    """A cluster of raylets on this machine, one CPU each; the round's commands join it."""
    # In a folder of its own, where nobody else finds the cluster's address.
    own = {"RAY_TMPDIR": tempfile.mkdtemp(dir="/tmp"), "RAY_AUTH_MODE": "disabled"}
    with patch.dict(os.environ, own):
        from ray.cluster_utils import Cluster

        # Ray's usual ports may be another Ray's.
        alone = {"dashboard_port": free_port(), "dashboard_agent_listen_port": 0}
        with on_loopback():
            found = Cluster(initialize_head=True, head_node_args={**NODE, **alone})
        try:
            for _ in range(nodes - 1):
                add_node(found)
            this.env = {**own, "RAY_ADDRESS": found.address}
            yield found
        finally:
            for node in [*found.worker_nodes, found.head_node]:
                node.kill_all_processes(check_alive=False, allow_graceful=False)
            shutil.rmtree(own["RAY_TMPDIR"], ignore_errors=True)


def kill_raylet(this: Round) -> None:
    """SIGKILL of one raylet of three, for good."""
    with cluster(this, 3) as found, this.command() as process:
        this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 6))
        used = {worker.split("-")[0] for worker in this.until(this.running, process).values()}
        # The driver and its board are on the head; two workers are not both there.
        nodes = [node for node in found.worker_nodes if node._node_id[:6] in used]
        this.draw.choice(nodes).kill_raylet(False)
        this.wait(process)


def join_and_go(this: Round) -> None:
    """A node joins while folds wait, works, and is lost for good."""

    def fold_on(node: Any) -> str | None:
        here = [f for f, w in this.running().items() if w.startswith(node._node_id[:6])]
        return here[0] if here else None

    with cluster(this, 1) as found, this.command(None) as process:
        this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 3))
        node = add_node(found)
        fold = this.until(lambda: fold_on(node), process)
        time.sleep(this.draw.uniform(0, 3))
        workers = {e["worker"].partition("-")[0] for e in this.events() if e.get("worker")}
        check(len(workers) == 2, f"expected workers on two nodes, got {workers}")
        this.notes["fold_on_the_new_node"] = fold
        node.kill_raylet(False)
        this.wait(process)


def stop_head(this: Round) -> None:
    """The head is stopped and started again; the same command."""
    with cluster(this, 1) as found, this.command(1) as process:
        this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 6))
        found.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        stopped = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(120)
        this.notes["driver_ended_by_itself"] = process.poll() is not None
        this.notes["driver_ended_after_s"] = time.monotonic() - stopped
    with cluster(this, 1):
        this.finish(1)


FAULTS: dict[str, Callable[[Round], None]] = {
    "worker": kill_worker,
    "driver": kill_driver,
    "sigterm": terminate_worker,
    "raylet": kill_raylet,
    "join": join_and_go,
    "head": stop_head,
}


@contextmanager
def bench() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with inputs, and the ledger's content of a run that nobody disturbs."""
    root = Path(tempfile.mkdtemp())
    try:
        write_inputs(root, SUBJECTS, CLIPS_EACH, SIZE)
        (root / "undisturbed").mkdir()
        calm = Round(root, root / "undisturbed", random.Random(0))
        calm.finish(workers=0)
        check(len(calm.content()) == SUBJECTS, "the undisturbed run is incomplete")
        yield root, calm.content()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def disturb(root: Path, undisturbed: dict[str, str], fault: str, number: int) -> dict[str, Any]:
    """One round of a fault; raises `NotHeldError`."""
    folder = root / f"{fault}{number}"
    folder.mkdir()
    this = Round(root, folder, random.Random(f"{fault} {number}"))
    started = time.monotonic()
    FAULTS[fault](this)
    this.check_against(undisturbed)
    return {
        "fault": fault,
        "round": number,
        "held": True,
        "seconds": time.monotonic() - started,
        **this.notes,
    }


def main() -> int:
    """Disturb and report; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rounds to this file")
    parser.add_argument("--rounds", type=int, default=2, help="of every fault")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    given = parser.parse_args()
    rows = []
    with bench() as (root, undisturbed):
        for fault in given.faults:
            for number in range(given.first, given.first + given.rounds):
                try:
                    row = disturb(root, undisturbed, fault, number)
                except NotHeldError as error:
                    row = {"fault": fault, "round": number, "held": False, "why": str(error)}
                print(row, flush=True)
                rows.append(row)
    report("faults", rows, given.json)
    return 0 if all(row["held"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
