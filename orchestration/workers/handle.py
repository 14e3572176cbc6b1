"""The queue's actor as other processes see it. Imports no torch: that is slow."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate

import ray

from orchestration.folds.worker_queue import P, R

if TYPE_CHECKING:
    from orchestration.folds.plan import Plan


class QueueHandle:
    """Calls of the queue's actor; they are kept out of the dashboard's task list.

    A method is given as a function of the actor's class, such as ``LeaseQueue.snapshot``, so that
    arguments and answers have types.
    """

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def ask(self, method: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a method and wait for its answer."""
        answer: R = ray.get(self.send(method, *args, **kwargs))
        return answer

    def send(
        self, method: Callable[Concatenate[Any, P], Any], *args: P.args, **kwargs: P.kwargs
    ) -> ray.ObjectRef:
        """Call a method without waiting."""
        remote = getattr(self.actor, method.__name__).options(enable_task_events=False)
        return remote.remote(*args, **kwargs)


def publish(plan: "Plan") -> ray.ObjectRef:
    """Put a plan into the node's shared memory, of which all its processes map the same pages.

    Another node gets one copy when its first worker asks. This process releases its own.
    """
    reference = ray.put(plan)
    plan.dataset.share_flows_of(ray.get(reference).dataset)
    return reference
