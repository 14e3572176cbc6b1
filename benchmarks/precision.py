"""Effect of a precision: validation UF1 and milliseconds per step of a few folds.

`python -m benchmarks.precision --flows demo/flows/synthetic --macro-weights
demo/teacher.safetensors --json benchmarks/results/precision.json`. Each precision of the device
trains the same folds from the same seeds. The UF1 is the best one on the validation subjects; no
test subject is scored.
"""

import argparse
import math
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.common import report
from benchmarks.devices import choose, wait
from dadnet.config.experiment import DataConfig, Precision
from dadnet.config.presets import get_preset
from dadnet.folds.view import FoldView
from dadnet.training.loop import FoldTask, train_folds
from orchestration.folds.plan import Plan, load_inputs, plan_of


def one_precision(plan: Plan, names: list[str], device: torch.device) -> dict[str, Any]:
    """The row of one precision; each fold is trained alone."""
    uf1, losses, seconds, steps = [], [], [], []
    for name in names:
        view = FoldView.of(plan.dataset, plan.fold(name), device)
        wait(device)
        started = time.perf_counter()
        task = iter([FoldTask(plan.config, view)])
        [trained] = train_folds(partial(next, task, None), 1, teacher=plan.teacher, device=device)
        wait(device)
        seconds.append(time.perf_counter() - started)
        steps.append(trained.epochs_run * math.ceil(len(view.fit) / plan.config.optim.batch_size))
        uf1.append(max(trained.curves["val_uf1"]))
        losses.append(trained.curves["train_loss"][-1])
    per_step = [1000 * s / n for s, n in zip(seconds, steps, strict=True)]
    return {
        "precision": plan.config.optim.precision,
        "device": device.type,
        "folds": len(names),
        "epochs": plan.config.optim.epochs,
        "val_uf1": statistics.mean(uf1),
        "val_uf1_of_folds": [round(value, 4) for value in uf1],
        "last_train_loss": statistics.mean(losses),
        # of the whole training, validation included
        "step_ms": statistics.median(per_step),
        "step_ms_of_folds": [round(value, 2) for value in per_step],
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=Path, required=True, help="folder of a flow store")
    parser.add_argument("--macro-weights", type=Path, required=True, help="the teacher's file")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--input-size", type=int, help="default: that of the preset smoke")
    parser.add_argument("--epochs", type=int, help="default: those of the preset smoke")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    device = choose(given.device)
    config = get_preset("smoke", DataConfig(dataset=given.dataset))
    model = replace(config.model, input_size=given.input_size or config.model.input_size)
    rows = []
    for precision in get_args(Precision):
        if precision == "tf32" and device.type != "cuda":
            rows.append({"precision": "tf32", "device": device.type, "left_out": "needs a GPU"})
            continue
        epochs = given.epochs or config.optim.epochs
        optim = replace(config.optim, precision=precision, epochs=epochs)
        made = replace(config, model=model, optim=optim)
        plan = plan_of(made, load_inputs(made, given.flows, given.macro_weights))
        rows.append(one_precision(plan, [f.name for f in plan.folds[: given.folds]], device))
    report("precision", rows, given.json)


if __name__ == "__main__":
    main()
