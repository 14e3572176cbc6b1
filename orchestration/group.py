"""One Ray Train worker group per run, whose workers make the missing folds of a plan."""

import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private.state import state
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dadnet.errors import DadnetError
from dadnet.location import Location, absolute
from dadnet.remote import RemotePath
from dadnet.training import StoppedError
from orchestration.backend import IndependentConfig
from orchestration.board import MAX_TRIES, Board, FoldBoard
from orchestration.connection import connect
from orchestration.plan import Plan
from orchestration.stopping import GRACE_S as STOP_S
from orchestration.work import WorkOptions, make_folds_of_plan
from orchestration.worker import MakeFolds, train_loop_per_worker
from results.ledger import Ledger

POLL_S = 0.5
# Once every fold is done or failed, so long is waited for the group to end by itself: after the
# loss of a node `fit()` can wait for ever for a worker that cannot come back.
GRACE_S = 15.0
LEASE_S = 15.0

OnSnapshot = Callable[[dict[str, Any]], None]
OnLoss = Callable[[BaseException | None], None]


def offered() -> dict[str, float]:
    """What the cluster has, or may grow to where an autoscaler adds nodes as they are needed."""
    here: dict[str, float] = ray.cluster_resources()
    most = state.get_max_resources_from_cluster_config() or {}
    return {name: max(here.get(name, 0), most.get(name, 0)) for name in {*here, *most}}


def default_workers(gpus_per_worker: float = 1.0) -> int:
    """As many workers as the cluster's GPUs hold, or one per CPU if there is none.

    Args:
        gpus_per_worker: share of a GPU that each takes, more than 0 and at most 1.
    """
    resources = offered()
    # A worker's share lies on one GPU: of 0.4, two fit on each. The 1e-9 is for 1 / (1 / 3).
    on_gpus = int(resources.get("GPU", 0)) * math.floor(1 / gpus_per_worker + 1e-9)
    return on_gpus or int(resources.get("CPU", 1))


def cluster_has_gpus() -> bool:
    """Whether Ray knows of a GPU; joins or starts the cluster."""
    connect(1)
    return bool(offered().get("GPU", 0))


def scaling(
    workers: int, gpus: float, gpus_per_worker: float = 1.0, cpus: float = 1.0
) -> ScalingConfig:
    """What Ray gives a worker group.

    Args:
        workers: its size.
        gpus: GPUs of the cluster; without any a worker takes a CPU.
        gpus_per_worker: as in :func:`default_workers`.
        cpus: CPUs of a worker without a GPU; less than 1 leaves room for the trials of a search.

    Raises:
        DadnetError: if a share of a GPU is asked for where there is none.
    """
    if gpus > 0:
        share = {"GPU": gpus_per_worker}
        return ScalingConfig(num_workers=workers, use_gpu=True, resources_per_worker=share)
    if gpus_per_worker != 1:
        raise DadnetError(
            f"gpus_per_worker: expected a cluster with GPUs for a share of {gpus_per_worker}, "
            "which has none"
        )
    on_cpus = None if cpus == 1 else {"CPU": cpus}
    return ScalingConfig(num_workers=workers, resources_per_worker=on_cpus)


def check_shared(folder: Location) -> None:
    """Refuse a ledger that is a folder of this machine alone: records made elsewhere would be lost.

    Args:
        folder: one that is there, as this machine sees it.

    Raises:
        DadnetError: naming a node that does not see it.
    """
    if isinstance(folder, RemotePath):
        return  # object storage, which all nodes reach
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    there = ray.remote(num_cpus=0)(os.path.isdir)
    for node in others:
        on_it = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        if not ray.get(there.options(scheduling_strategy=on_it).remote(str(folder))):
            raise DadnetError(
                f"ledger: node {node['NodeManagerAddress']} does not see {folder}; expected a "
                "path on storage that all nodes share"
            )


def run_group(
    plan: Plan,
    missing: tuple[str, ...],
    options: WorkOptions,
    *,
    workers: int,
    stack: int,
    on_snapshot: OnSnapshot,
    gpus_per_worker: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
    make: MakeFolds = make_folds_of_plan,
) -> None:
    """Make the missing folds on a worker group; returns when each is done or has failed.

    Args:
        plan: the experiment's plan.
        missing: names of the folds to make.
        options: where and how.
        workers: size of the group; each takes a GPU where the cluster has some, else a CPU.
        stack: folds that a worker trains at once; 0: each worker measures what is fastest.
        gpus_per_worker: share of a GPU that each worker takes, where the cluster has some.
        on_snapshot: called about twice a second with the board's state and its new events.
        stop: asked as often; if it says so, the workers keep the states of their folds.
        make: what makes folds, see :func:`orchestration.worker.serve`.

    Raises:
        StoppedError: because of `stop`.
        Exception: what broke the whole group, if folds are left.
    """
    check_shared(Ledger(options.ledger).folder(plan.experiment))
    shares = scaling(min(workers, len(missing)), offered().get("GPU", 0), gpus_per_worker)
    name = f"loso-{plan.experiment.dataset}-{plan.experiment.digest}"
    group = WorkerGroup(
        name,
        Board(missing, lease_s=LEASE_S),
        {
            "plan": share(plan),
            "options": options,
            "stack": stack,
            "names": missing,
            "share": math.ceil(len(missing) / min(workers, len(missing))),
            "make": make,
        },
        epochs=plan.config.optim.epochs,
        shares=shares,
        # Enough for every fold to be given up by the board first; not for ever, since workers
        # that cannot even start would then be restarted without end.
        max_failures=10 + MAX_TRIES * len(missing),
    )
    group.follow(on_snapshot, stop=stop)


def share(plan: Plan) -> ray.ObjectRef:
    """Put a plan into the node's shared memory, of which all its processes map the same pages.

    Another node gets one copy when its first worker asks. This process lets go of its own.
    """
    reference = ray.put(plan)
    plan.dataset.share_flows_of(ray.get(reference).dataset)
    return reference


class WorkerGroup:
    """A Ray Train worker group with its board.

    Args:
        name: of the run and of the board, for the dashboard.
        board: what is to be made.
        loop: configuration of `train_loop_per_worker`, without the board.
        epochs: of a fold at most, for the metrics.
        shares: size of the group and each worker's share of the machine, see :func:`scaling`.
        max_failures: workers that may be replaced.
    """

    def __init__(
        self,
        name: str,
        board: Board,
        loop: dict[str, Any],
        *,
        epochs: int,
        shares: ScalingConfig,
        max_failures: int,
    ) -> None:
        # With the driver: a node that is lost must not take the board along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(FoldBoard).options(
            # For the dashboard; Ray wants names that differ, and the last board may not be gone.
            name=f"{name} {secrets.token_hex(2)}",
            num_cpus=0,
            max_concurrency=1000,
            scheduling_strategy=here,
        )
        self.board: Any = actor.remote(name, board, epochs)
        trainer = DataParallelTrainer(
            train_loop_per_worker,
            train_loop_config={"board": self.board, **loop},
            backend_config=IndependentConfig(),
            scaling_config=shares,
            run_config=RunConfig(
                name=name,
                storage_path=_storage(loop["options"].ledger),
                failure_config=FailureConfig(max_failures=max_failures),
            ),
        )
        self._failures: list[BaseException] = []
        self._fit = threading.Thread(target=_fit, args=(trainer, self._failures), daemon=True)
        self._fit.start()

    def follow(
        self,
        on_snapshot: OnSnapshot,
        on_loss: OnLoss | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Show the board until its folds are done or failed and the group has ended.

        Args:
            on_snapshot: called about twice a second.
            on_loss: called with what broke the group if it ends while the board is still open.
            stop: whether to stop.

        Raises:
            StoppedError: because of `stop`.
            Exception: what broke the whole group, if folds are left.
        """
        over = _follow(self.board, self._fit, on_snapshot, stop)
        if not over and stop():
            ray.kill(self.board)
            raise StoppedError("the run was asked to stop")
        failure = self._failures[0] if self._failures else None
        if not over and on_loss is not None:
            on_loss(failure)
            while not _follow(self.board, self._fit, on_snapshot, stop):
                time.sleep(POLL_S)  # whoever waits is to see it, and then closes the board
        ray.kill(self.board)
        if failure is not None and not over:
            raise failure


def _storage(ledger: Location) -> str:
    """Where Ray Train keeps its own notes; it reads URIs as pyarrow does."""
    return str(absolute(ledger / ".ray"))


def _fit(trainer: DataParallelTrainer, failures: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as failure:  # it is handed to the driver's thread
        failures.append(failure)


def _follow(
    board: Any, fit: threading.Thread, on_snapshot: OnSnapshot, stop: Callable[[], bool]
) -> bool:
    """Show the board until the group ends, is no longer needed or has stopped; whether all is
    over."""
    ask = board.call.options(enable_task_events=False).remote
    seen = 0
    over_since: float | None = None
    stopped_at: float | None = None
    while True:
        alive = fit.is_alive()
        snapshot = ray.get(ask("snapshot", seen))
        seen += len(snapshot["events"])
        on_snapshot(snapshot)
        if snapshot["over"]:
            over_since = over_since or time.monotonic()
        if not alive or (over_since and time.monotonic() - over_since > GRACE_S):
            return bool(snapshot["over"])
        if stop() and not snapshot["over"]:
            if stopped_at is None:
                stopped_at = time.monotonic()
                ray.get(ask("stop"))
            if not snapshot["running"] or time.monotonic() - stopped_at > STOP_S:
                return False
        fit.join(POLL_S)
