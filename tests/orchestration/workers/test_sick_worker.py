"""Real Ray runs in which the address space of one worker is limited."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.folds.queue_state import MAX_REPLACED
from results.ledger.ledger import Ledger
from tests.build.runs import run_words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Python runs it at the start of every process. In a worker of rank 0 it takes away the memory when
# the worker's loop begins: Ray and torch are loaded by then, and the training has not begun.
SITE = """
import functools, importlib.abc, importlib.machinery, sys

NAME = "orchestration.workers.worker"

class Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self.create_module, self.loader = loader.create_module, loader
    def exec_module(self, module):
        self.loader.exec_module(module)
        loop = module.train_loop_per_worker
        @functools.wraps(loop)  # Ray pickles it by its name
        def limited(config):
            import ray.train, resource
            if ray.train.get_context().get_world_rank() == 0:
                begin = module.RemoteQueue.begin
                def less_memory(queue):
                    claim = begin(queue)
                    pages = int(open("/proc/self/statm").read().split()[0])
                    limit = pages * resource.getpagesize()
                    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
                    return claim
                module.RemoteQueue.begin = less_memory
            loop(config)
        module.train_loop_per_worker = limited

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader)
        return spec

sys.meta_path.insert(0, Finder())
"""


def run(site: Path, folder: Path, workers: int) -> tuple[int, str, list[str]]:
    """Status, output and missing folds of a run whose rank 0 has no memory to train with."""
    (folder / "sitecustomize.py").write_text(SITE)
    words = run_words(
        site, folder / "runs", "--epochs", "40", "--micro-size", "small", "--workers", str(workers)
    )
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', Path.cwd())}"
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.run_loso", *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ledger = Ledger(folder / "runs")
    [experiment] = ledger.experiments()
    return done.returncode, done.stdout + done.stderr, ledger.missing(experiment)


def test_a_worker_without_memory_costs_no_fold(site, tmp_path):
    status, output, missing = run(site, tmp_path, 2)
    assert (status, missing) == (0, ()), output
    assert "the worker ends (" in output
    assert "given up after try" not in output
    assert "Traceback" not in output


def test_a_run_with_one_sick_worker_ends(site, tmp_path):
    status, output, missing = run(site, tmp_path, 1)
    assert status == 3, output
    assert len(missing) == 5
    assert output.count("the worker ends (") == MAX_REPLACED + 1
    assert output.count("without a finished fold and is given up") == 1
    assert "Traceback" not in output
