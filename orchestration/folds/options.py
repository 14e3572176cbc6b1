"""Options of making folds that change no number."""

from dataclasses import dataclass
from typing import Literal

import torch

from dadnet.base.location import Location
from dadnet.training.stack.graph import GraphMode
from orchestration.folds.claims import Claims


@dataclass(frozen=True)
class WorkOptions:
    """How to work; none of it changes a number.

    Attributes:
        ledger: root of the ledger.
        checkpoint_every: epochs between two states of a fold.
        device: torch's name of the device.
        stack: folds trained at once as one program; auto: what a worker measures to be fastest.
        graph: whether a step on a GPU is captured as one CUDA graph; auto: where that is faster.
        keep_weights: best: every fold's chosen weights stay beside its record; none: they go.
        keep_features: test: the student's pooled features of a fold's test clips stay beside its
            record, for the map of clips on the run's page.
        test_side: score the test clips and write the fold's record. A search does without: it
            keeps the weights, and the test labels are hidden.
        claims: of this run on the folds, where other runs may use the same ledger.
    """

    ledger: Location
    checkpoint_every: int = 5
    device: str = "cpu"
    stack: int | Literal["auto"] = 1
    keep_weights: Literal["best", "none"] = "none"
    keep_features: Literal["test", "none"] = "test"
    test_side: bool = True
    claims: Claims | None = None
    graph: GraphMode = "auto"


def local_device() -> str:
    """The device of work in this process: a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
