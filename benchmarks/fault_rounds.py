"""The rounds of `benchmarks.faults` that disturb processes: worker, driver, node, head."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.disturbed import EPOCHS, LAST_S, Round, check, free_port, run
from dadnet.flow.store import verify_store
from dadnet.training.checkpoint import CheckpointFile
from orchestration.workers.ray_internals import on_loopback
from results.ledger.ledger import Ledger
from results.ledger.studies import StudyLedger

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
GRACE_S = 30.0  # between SIGTERM and SIGKILL


def vary(this: Round) -> None:
    """Every second round trains stacks of four."""
    this.stack = 1 + 3 * (this.number % 2)
    this.notes["stack"] = this.stack


def flip_checkpoint(this: Round) -> None:
    """Every second round, whatever its stack, also damages a checkpoint."""
    if this.number // 2 % 2:
        path = this.flip_bit("checkpoints/*")
        this.lenient = path is not None
        this.notes["bit_flipped_in"] = path and path.name


def kill_worker(this: Round) -> None:
    """SIGKILL of a worker; in every second round one bit of a checkpoint changes as well."""
    vary(this)
    with this.command() as process:
        pid, _ = this.random_worker(process)
        os.kill(pid, signal.SIGKILL)
        flip_checkpoint(this)
        this.wait(process)


def kill_driver(this: Round) -> None:
    """SIGKILL of the driver, at any time or within 200 ms of a record; the same command again."""
    vary(this)

    def records() -> int:
        return len(list(Path(this.ledger).rglob("folds/*.json")))

    with this.command() as process:
        if this.number % 4 < 2:
            wanted = this.draw.randint(1, 3)
            this.until(lambda: records() >= wanted, process)
            time.sleep(this.draw.uniform(0, 0.2))
        else:
            if this.draw.random() < 0.75:
                this.until(this.running, process)
            time.sleep(this.draw.uniform(0, 8))
        this.notes |= {"done_before": records(), "at_a_record": this.number % 4 < 2}
        process.kill()
    time.sleep(3)  # Ray's processes see that their driver is gone
    flip_checkpoint(this)
    this.finish()


def kill_search(this: Round) -> None:
    """SIGKILL of a search's driver; the same command ends with the undisturbed study."""
    vary(this)
    with undisturbed_search(this):
        with this.command() as process:
            wait_for_val_sides(this, process)
            process.kill()
        time.sleep(3)
        flip_checkpoint(this)
        this.finish()


@contextmanager
def undisturbed_search(this: Round) -> Iterator[None]:
    """Make the round a search; its studies are compared with those of a search in one process."""
    small = "--epochs 10 --num-trials 3 --outer-groups 2 --concurrent-trials 1"
    this.search = f"{small} --site {this.folder}/site"
    this.is_compared = True
    calm = replace(this, ledger="", folder=this.folder / "calm")
    calm.folder.mkdir()
    calm.finish(workers=0)
    yield
    found, undisturbed = studies_of(this), studies_of(calm)
    check(found == undisturbed, f"the study differs: {found} and {undisturbed}")


def wait_for_val_sides(this: Round, process: subprocess.Popen[bytes]) -> None:
    """Wait until a search has made a random number of folds, and a little longer."""
    made = this.draw.randint(1, 8)
    this.until(lambda: len(list(Path(this.ledger).rglob("*.val.json"))) >= made, process)
    time.sleep(this.draw.uniform(0, 2))


def studies_of(this: Round) -> list[Any]:
    """What must be equal in two searches."""
    return [
        (
            study.digest,
            [(t.number, t.state, t.params, t.values, t.num_folds, t.val_uf1) for t in study.trials],
            study.winner,
            study.scored,
        )
        for study in StudyLedger(this.ledger).studies()
    ]


def terminate_worker(this: Round) -> None:
    """SIGTERM to a worker, as before a preemption, SIGKILL 30 s later."""
    this.checkpoint_every = 10 * EPOCHS  # so that no other state is ever written
    with this.command() as process:
        pid, fold = this.random_worker(process)
        told_at = time.monotonic()
        os.kill(pid, signal.SIGTERM)

        def outcome() -> dict[str, Any] | None:
            ends = [e for e in this.events() if e.get("fold") == fold and e["event"] != "started"]
            return ends[0] if ends else None

        event = this.until(outcome, process)
        seconds = time.monotonic() - told_at
        check(seconds < GRACE_S, f"the worker took {seconds:.1f} s to answer")
        this.notes["answer_s"] = seconds
        if event["event"] != "finished":  # else the signal came at the very end of the fold
            check(event["event"] == "yielded", f"expected the fold to be put back, got {event}")
            [experiment] = Ledger(this.ledger).experiments()
            path = Ledger(this.ledger).checkpoint_path(experiment, fold)
            state = CheckpointFile(path, experiment.digest, fold).load()
            reported = event.get("info", {}).get("epoch", 0)
            check(state is not None, "no checkpoint was written")
            kept = 0 if state is None else state["epoch"]
            check(kept >= reported, f"reported epoch {reported}, kept {kept}")
            this.notes["kept_epoch"] = kept
        this.wait(process)


def add_node(cluster: Any) -> Any:
    """One more raylet."""
    with on_loopback():
        return cluster.add_node(**NODE)


@contextmanager
def cluster(this: Round, nodes: int) -> Iterator[Any]:
    """A cluster of raylets on this machine, one CPU each; the round's commands join it."""
    # In a separate folder, where no other process finds the cluster's address.
    own = {"RAY_TMPDIR": tempfile.mkdtemp(dir="/tmp"), "RAY_AUTH_MODE": "disabled"}
    with patch.dict(os.environ, own):
        from ray.cluster_utils import Cluster

        # Ray's usual ports may be another Ray's.
        alone = {"dashboard_port": free_port(), "dashboard_agent_listen_port": 0}
        with on_loopback():
            raylets = Cluster(initialize_head=True, head_node_args={**NODE, **alone})
        try:
            for _ in range(nodes - 1):
                add_node(raylets)
            this.env = {**own, "RAY_ADDRESS": raylets.address}
            yield raylets
        finally:
            for node in [*raylets.worker_nodes, raylets.head_node]:
                node.kill_all_processes(check_alive=False, allow_graceful=False)
            shutil.rmtree(own["RAY_TMPDIR"], ignore_errors=True)


def kill_raylet(this: Round) -> None:
    """SIGKILL of one raylet of three, for good."""
    with cluster(this, 3) as raylets, this.command() as process:
        this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 6))
        used = {worker.split("-")[0] for worker in this.until(this.running, process).values()}
        # The driver and its queue are on the head; two workers are not both there.
        nodes = [node for node in raylets.worker_nodes if node._node_id[:6] in used]
        this.draw.choice(nodes).kill_raylet(False)
        this.wait(process)


def join_and_go(this: Round) -> None:
    """A node joins while folds wait, works, and is lost for good."""

    def fold_on(node: Any) -> str | None:
        here = [f for f, w in this.running().items() if w.startswith(node._node_id[:6])]
        return here[0] if here else None

    with cluster(this, 1) as raylets, this.command(None) as process:
        [worker] = this.until(this.running, process).values()
        time.sleep(this.draw.uniform(0, 3))
        pid = int(worker.split("-")[1])
        # The folds are short: while others start on the new node, this one would make them all.
        os.kill(pid, signal.SIGSTOP)
        node = add_node(raylets)
        fold = this.until(lambda: fold_on(node), process)
        os.kill(pid, signal.SIGCONT)
        time.sleep(this.draw.uniform(0, 3))
        workers = {e["worker"].partition("-")[0] for e in this.events() if e.get("worker")}
        check(len(workers) == 2, f"expected workers on two nodes, got {workers}")
        this.notes["fold_on_the_new_node"] = fold
        node.kill_raylet(False)
        this.wait(process)


def stop_head(this: Round) -> None:
    """The head is stopped and started again; the same command."""
    with cluster(this, 1) as raylets, this.command(1) as process:
        this.until(this.running, process)
        time.sleep(this.draw.uniform(0, 6))
        lose_head(this, raylets, process)
    with cluster(this, 1):
        this.finish(1)


def stop_head_of_search(this: Round) -> None:
    """The head is stopped under a search and started again; the same command."""
    with undisturbed_search(this):
        with cluster(this, 1) as raylets, this.command(1) as process:
            wait_for_val_sides(this, process)
            lose_head(this, raylets, process)
        with cluster(this, 1):
            this.finish(1)


def lose_head(this: Round, raylets: Any, process: subprocess.Popen[bytes]) -> None:
    """Stop the head; the command must end by itself, with status 3 and one line."""
    raylets.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    stopped = time.monotonic()
    this.wait(process, 3)
    this.notes["driver_ended_after_s"] = time.monotonic() - stopped
    check("Traceback (most recent" not in this.log(), this.tail())


def kill_ingest(this: Round) -> None:
    """SIGKILL of an ingest; one bit of a finished chunk changes; the same command again."""
    workers, store, calm = this.number % 2, this.folder / "store", this.folder / "calm"
    table = write_frames(this.folder / "frames", clips=24, seed=this.number)
    words = [sys.executable, "-m", "orchestration.ingest", "--index", str(table)]
    words += f"--dataset mine --size 96 --workers {workers} --out".split()
    run(this, [*words, str(calm)])
    with (this.folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*words, str(store)], stdout=log, stderr=log, start_new_session=True
        )
        time.sleep(this.draw.uniform(1, 12))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    this.ledger, this.is_compared = this.folder, True
    path = this.flip_bit("store*/**/*.parquet")
    this.notes |= {"workers": workers, "bit_flipped_in": path and path.name}
    check(run(this, [*words, str(store)], last_s=LAST_S) == 0, this.tail())
    check(flows_of(store) == flows_of(calm), "the flow store differs from the undisturbed one")


def write_frames(folder: Path, clips: int, seed: int) -> Path:
    """Write two frames per clip and their table; returns the table."""
    folder.mkdir()
    draws = np.random.default_rng(seed)
    lines = ["clip_id,subject,label,onset_path,apex_path"]
    for i in range(clips):
        first = cv2.GaussianBlur(draws.integers(0, 255, (96, 96), dtype=np.uint8), (9, 9), 3)
        cv2.imwrite(str(folder / f"{i}a.png"), first)
        cv2.imwrite(str(folder / f"{i}b.png"), np.roll(first, 1, 1))
        label = ("disgust", "happiness", "surprise")[i % 3]
        lines.append(f"c{i},s{i % 6},{label},{i}a.png,{i}b.png")
    table = folder / "clips.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


def flows_of(store: Path) -> str:
    """The digest of a flow store, which is verified."""
    return str(verify_store(store)["digest"])


PROCESS_FAULTS: dict[str, Callable[[Round], None]] = {
    "worker": kill_worker,
    "driver": kill_driver,
    "search": kill_search,
    "sigterm": terminate_worker,
    "raylet": kill_raylet,
    "join": join_and_go,
    "head": stop_head,
    "head_search": stop_head_of_search,
    "ingest": kill_ingest,
}
