"""Whether the workers of a node share one copy of the flows, as the kernel counts memory.

`python -m benchmarks.flows_memory --json benchmarks/results/flows_memory.json`. A made-up store of
7,526 clips of 224 x 224 (DFME whole, 1.5 GB as float16) is loaded as a run loads it and put where a
run puts it; four workers then read every clip in batches, as an epoch does. Their proportional set
size (PSS: a page that k processes share counts 1/k in each) is added up with the driver's, less
what each had before the flows: that is what the flows take on the node.
"""

import argparse
import importlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from benchmarks.common import report
from dadnet.flow.store import (
    FLOW_FILE,
    flow_digest,
    flow_table,
    load_flow_store,
    store_digest,
    write_card,
    write_flow_file,
)
from dadnet.folds.dataset import MicroExpressionDataset
from orchestration.folds.plan import Plan
from orchestration.workers.connection import connect
from orchestration.workers.handle import publish
from tests.build.flows import make_clips

BATCH = 32


def pss_bytes() -> dict[str, int]:
    """This process's proportional set size and the shared-memory part of it, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":") for line in lines if line.startswith("Pss"))
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in pairs}
    return {"pss": sizes["Pss"], "shmem": sizes["Pss_Shmem"]}


@ray.remote(num_cpus=0)
class Reader:
    """What a worker does with the flows, without the training."""

    def before(self, size: int) -> int:
        """PSS before there is a flow, in bytes; a worker's imports are done."""
        importlib.import_module("orchestration.workers.worker")
        torch.zeros(BATCH, 2, size, size, dtype=torch.float16).float().sum()
        return pss_bytes()["pss"]

    def read(self, plan: list[Any]) -> tuple[float, float]:
        """Read all clips once; seconds until they were there, and seconds of the reading."""
        started = time.perf_counter()
        self.dataset = ray.get(plan[0]).dataset
        there = time.perf_counter()
        for rows in torch.randperm(len(self.dataset)).split(BATCH):
            self.dataset.flows[rows].float().sum()
        return there - started, time.perf_counter() - there

    def after(self) -> dict[str, int]:
        """PSS while all workers hold the flows, in bytes."""
        return pss_bytes()


def write_made_up_store(folder: Path, clips: int, size: int) -> Path:
    """A store of noise; the values do not matter, only how many there are."""
    folder.mkdir()
    table = make_clips(-(-clips // 8), 8).iloc[:clips].reset_index(drop=True)
    noise = np.random.default_rng(0)
    tables, digests = [], []
    for _, group in table.groupby("subject", sort=True):
        block = noise.integers(0, 12000, (len(group), 2, size, size), np.uint16).view(np.float16)
        group = group.assign(flow_digest=[flow_digest(flow) for flow in block])
        digests += list(group["flow_digest"])
        tables.append((group, block))
    write_flow_file(folder / FLOW_FILE, (flow_table(*pair) for pair in tables))
    whole = table.sort_values("subject", kind="stable").assign(flow_digest=digests)
    card = {
        "schema": 1,
        "digest": store_digest(whole, "none"),
        "files": [FLOW_FILE],
        "parameters": {"normalisation": "none"},
    }
    write_card(folder, card)
    return folder


def load(store: Path, size: int) -> Plan:
    """The clips as a run loads them; of the plan, only the clips matter here."""
    dataset = MicroExpressionDataset.from_store(load_flow_store(store), "3class", size)
    return Plan(None, dataset, (), None, None, "")  # type: ignore[arg-type]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=7526)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    connect(flags.workers)
    with tempfile.TemporaryDirectory() as folder:
        store = write_made_up_store(Path(folder) / "store", flags.clips, flags.size)
        readers = [Reader.remote() for _ in range(flags.workers)]
        before = sum(ray.get([reader.before.remote(flags.size) for reader in readers]))
        driver_before = pss_bytes()["pss"]
        started = time.perf_counter()
        plan = load(store, flags.size)
        load_s = time.perf_counter() - started
    one_copy = plan.dataset.flows.numel() * plan.dataset.flows.element_size()
    reference = publish(plan)
    seconds = ray.get([reader.read.remote([reference]) for reader in readers])
    readings = ray.get([reader.after.remote() for reader in readers])
    driver = pss_bytes()
    workers_bytes = sum(each["pss"] for each in readings) - before
    # Ray's own store maps the pages as well, but has not touched all of them.
    shared = sum(each["shmem"] for each in readings) + driver["shmem"]
    private = sum(each["pss"] - each["shmem"] for each in readings) - before
    figures = {
        "clips": flags.clips,
        "size": flags.size,
        "workers": flags.workers,
        "one_copy_bytes": one_copy,
        "workers_pss_bytes": workers_bytes,
        "workers_private_bytes": private,
        "shared_bytes": shared,
        "driver_pss_bytes": driver["pss"] - driver_before,
        "workers_over_one_copy": workers_bytes / one_copy,
        "node_over_one_copy": (workers_bytes + driver["pss"] - driver_before) / one_copy,
        "load_s": load_s,
        "get_s": max(pair[0] for pair in seconds),
        "read_s": max(pair[1] for pair in seconds),
    }
    report("flows_memory", [figures], flags.json)
    ray.shutdown()


if __name__ == "__main__":
    main()
