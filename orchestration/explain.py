"""Explain an experiment's predictions from its kept weights, on its run page.

`python -m orchestration.explain --experiment 0123456789abcdef --flows flows/casme2 --macro-weights
teacher.safetensors` shows how the spatial transformer transforms each test clip, the weights of
channel attention and the gradient branches and, with the teacher, the features of both streams
along one direction before and after training. Nothing is trained. Exit status: 0 done, 2 bad input.
"""

import sys
from collections.abc import Sequence
from typing import Any

from dadnet.base import cli
from orchestration.folds.flags import EXPLAIN, ExplainFlags

if __name__ == "__main__":
    EXPLAIN.parse_first(__doc__)

import numpy as np
import torch
from rich.console import Console

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import generator
from dadnet.config.experiment import ExperimentConfig
from dadnet.flow.corrupted_inputs import corrupted_inputs
from dadnet.inference.explain import Inspection, inspect_network, projected_densities, theta_numbers
from dadnet.inference.score import score_inputs
from dadnet.labels.tasks import Names, has
from dadnet.models import DADNet, load_weights
from dadnet.training.build import build_model
from dadnet.training.teacher import Teacher
from orchestration.folds.kept_weights import adapters_path
from orchestration.folds.plan import default_flows
from orchestration.folds.rescore import Scoring, check_clean, load_fold, load_scoring
from results.leaderboard.names import find_experiment
from results.ledger.explanation import Explanation, put_explanation
from results.ledger.ledger import Ledger
from results.ledger.records import FoldRecord
from results.ledger.sources import sources_of
from results.pages.linking import add_page
from results.pages.run import render_run, row_of, run_page_name

NUM_RANKS = 33
# Training clips of one fold, for the densities.
NUM_DENSITY_CLIPS = 256


def run(flags: ExplainFlags, console: Console) -> int:
    """Explain every fold's network on its test clips; write the explanation and the run page.

    Raises:
        DadnetError: if the input cannot be used.
    """
    ledger = Ledger(flags.ledger)
    experiment = find_experiment(ledger, flags.name or flags.experiment)
    if named := sources_of(experiment.config).get("model"):
        raise DadnetError(
            f"experiment: expected a MicroFlowNeXt, whose parts are known; {experiment.digest} is "
            f"a network of its own source ({named})"
        )
    flows = flags.flows or default_flows(experiment.dataset)
    scoring = load_scoring(flags.ledger, experiment, flows)
    names = [record.fold for record in scoring.records]
    fold = flags.fold or names[0]
    if fold not in names:
        raise DadnetError(f"fold: expected one of {', '.join(names[:8])}, ...; got {fold!r}")
    densities: list[dict[str, Any]] = []
    if flags.macro_weights is not None:
        densities = fold_densities(scoring, scoring.record(fold), Teacher.load(flags.macro_weights))
    else:
        console.print("no densities of student and teacher: they need --macro-weights")
    looks = [(record, look_at_fold(scoring, record)) for record in scoring.records]
    explanation = explain(scoring, looks, densities, fold if densities else "")
    path = put_explanation(ledger, experiment, explanation)
    console.print(f"wrote {path}", markup=False)
    page = flags.site / run_page_name(experiment)
    add_page(page, render_run(ledger, row_of(ledger, experiment), standalone=flags.standalone))
    console.print(f"wrote {page}", markup=False)
    return cli.DONE


def look_at_fold(scoring: Scoring, record: FoldRecord) -> tuple[list[str], Inspection]:
    """Run a fold's network on its test clips and check that it gives the record's predictions.

    Returns:
        The clips' ids, and the network's inner values for them.

    Raises:
        DadnetError: if the weights do not give the record, or are of another network.
    """
    torch.set_num_threads(1)
    model = load_fold(scoring, record)
    network, rows = model.network(), scoring.dataset.rows(record.test_subjects)
    clips = list(scoring.dataset.clips["clip_id"].iloc[rows.numpy()])
    inputs = corrupted_inputs(scoring.dataset.flows[rows], clips, None, model.statistics())
    scores = score_inputs(network, [inputs], task=scoring.dataset.task)
    check_clean(record, clips, scores, scoring.experiment)
    return clips, inspect_network(network, inputs)


def explain(
    scoring: Scoring,
    looks: Sequence[tuple[FoldRecord, tuple[list[str], Inspection]]],
    densities: Sequence[dict[str, Any]],
    density_fold: str,
) -> Explanation:
    """Combine the looks at all folds.

    Maps are averaged over folds pixel by pixel. Channels of different folds do not correspond, so
    their weights are compared by rank.
    """
    theta = {
        clip: tuple(map(_rounded, numbers))
        for _, (clips, seen) in looks
        if seen.theta is not None
        for clip, numbers in zip(clips, theta_numbers(seen.theta), strict=True)
    }
    every = [seen for _, (_, seen) in looks]
    labels = {row.clip_id: row.label for record, _ in looks for row in record.predictions}
    order = [labels[clip] for _, (clips, _) in looks for clip in clips]
    return Explanation(
        experiment=scoring.experiment.digest,
        theta=theta,
        channels=tuple(
            _ranked([seen.channels[k] for seen in every]) for k in range(len(every[0].channels))
        ),
        gradients=tuple(
            _gradient(k, every, order, scoring.experiment.classes)
            for k in range(len(every[0].maps))
        ),
        densities=tuple(densities),
        density_fold=density_fold,
    )


def _ranked(folds: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    ranks = np.linspace(0, 1, NUM_RANKS)
    curves = []
    for weights in folds:  # (N, C)
        falling = np.sort(weights.mean(axis=0))[::-1]
        curves.append(np.interp(ranks, np.linspace(0, 1, len(falling)), falling))
    low, middle, high = np.quantile(np.stack(curves), [0.1, 0.5, 0.9], axis=0)
    return {"low": _row(low), "middle": _row(middle), "high": _row(high)}


def _gradient(
    stage: int, every: Sequence[Inspection], labels: Sequence[Names], classes: Sequence[str]
) -> dict[str, Any]:
    maps = np.concatenate([seen.maps[stage] for seen in every])  # (N, H, W)
    shares = np.concatenate([seen.shares[:, stage] for seen in every])
    having = {name: np.array([has(label, name) for label in labels]) for name in classes}
    return {
        "stage": stage,
        "share": _rounded(float(shares.mean())),
        "maps": {
            name: [_row(row) for row in maps[having[name]].mean(axis=0)]
            for name in classes
            if having[name].any()
        },
    }


def fold_densities(scoring: Scoring, record: FoldRecord, teacher: Teacher) -> list[dict[str, Any]]:
    """Features of both streams of one fold along one direction, before and after training.

    Raises:
        DadnetError: if it is another teacher, nothing was aligned, or the fold's adapters, which
            map the teacher's features to the student's width, were not kept.
    """
    experiment = scoring.experiment
    config = ExperimentConfig.from_json(experiment.config)
    if not config.aligned or teacher.digest != experiment.teacher_digest:
        raise DadnetError(
            f"macro_weights: expected the teacher of the experiment "
            f"({experiment.teacher_digest if config.aligned else 'none: nothing was aligned'}), "
            f"got {teacher.digest}"
        )
    # The same draws as in training, so the same initial weights.
    before, after = (
        build_model(
            config, len(experiment.classes), teacher, generator("init", config.seed, record.fold)
        )
        for _ in range(2)
    )
    assert isinstance(before, DADNet)
    assert isinstance(after, DADNet)
    model = load_fold(scoring, record)
    after.student.load_state_dict(dict(model.weights))
    if after.adapted_stages:
        path = adapters_path(Ledger(scoring.ledger), experiment, record.fold)
        if not path.exists():
            raise DadnetError(
                f"fold {record.fold}: its adapters were not kept ({path} is missing); "
                "`run_loso --fresh --keep-weights best` keeps them; without --macro-weights "
                "everything but the densities is made"
            )
        adapters, _ = load_weights(path)
        after.adapters.load_state_dict(dict(adapters))
    rows = scoring.dataset.rows(record.fit_subjects)[:NUM_DENSITY_CLIPS]
    clips = list(scoring.dataset.clips["clip_id"].iloc[rows.numpy()])
    inputs = corrupted_inputs(scoring.dataset.flows[rows], clips, None, model.statistics())
    return [
        {
            "stage": density.stage,
            "gswd": [_rounded(value) for value in density.gswd],
            "centres": _row(density.centres),
            "before": [_row(side) for side in density.before],
            "after": [_row(side) for side in density.after],
        }
        for density in projected_densities(before, after, inputs, config.seed)
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _row(values: Any) -> list[float]:
    return [_rounded(float(value)) for value in values]


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return EXPLAIN.run(lambda flags: run(flags, cli.console()), argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
