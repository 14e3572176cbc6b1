"""How often the intervals hold the truth, and how often the swap test errs.

Studies are simulated on the subjects of a label table: each study draws its subjects with
replacement and an ability for each (logit, normal with standard deviation `--sd`), and predicts
clip by clip; a wrong prediction follows the prior of the other classes. The truth is the figure
over very many subjects. A bootstrap over subjects should cover 95 %; one over single clips covers
less, because the clips of one person are similar.

The interval over 2 to 5 seeds of one method is measured with an effect of the seed on every
subject (`seed_sd`, in logits), and with one on each subject apart (`subject_seed_sd`), also on
fewer subjects. Its truth is the mean figure over very many seeds and subjects; with two seeds the
formula is measured although the leaderboard shows no such interval.

`python -m benchmarks.coverage --simulations 1000 --json benchmarks/results/coverage.json`
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from results.statistics.compare import LEAST_SEEDS, seed_interval, swap_test
from results.statistics.counts import Counts
from results.statistics.resampling import (
    figures,
    interval,
    jackknife,
    point_figures,
    subject_sizes,
    subject_weights,
)

LABELS = Path(__file__).parents[1] / "tests" / "data" / "ststnet_predictions.csv"
CLASSES = ("negative", "positive", "surprise")
TRUTH_SUBJECTS = 400_000
SEEDS = (2, 3, 4, 5)
# Deviations in logits: of the subjects, of the seeds, of a seed on one subject.
SPREADS = (
    *((1.0, seed, 0.0) for seed in (0.0, 0.1, 0.2, 0.4, 0.8)),
    (1.0, 0.2, 0.5),
    *((1.5, seed, 0.0) for seed in (0.0, 0.4, 0.8)),
)
FEW_SUBJECTS = 25


def label_profiles(path: Path) -> np.ndarray:
    """Clips of each class of each subject, shape (S, K)."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    subjects = sorted({(row["dataset"], row["subject"]) for row in rows})
    table = np.zeros((len(subjects), len(CLASSES)), dtype=np.int64)
    for row in rows:
        table[subjects.index((row["dataset"], row["subject"])), CLASSES.index(row["label"])] += 1
    return table


def answers(
    clips: np.ndarray, ability: np.ndarray, prior: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """Confusions (S, K, K) of subjects with these clips (S, K) and abilities (S,), in logits."""
    size = clips.shape[1]
    right = draw.binomial(clips, 1 / (1 + np.exp(-ability))[:, None])
    confusions = np.zeros((len(clips), size, size), dtype=np.int64)
    for truth in range(size):
        others = [k for k in range(size) if k != truth]
        share = prior[others] / prior[others].sum()
        confusions[:, truth, truth] = right[:, truth]
        confusions[:, truth, others] = draw.multinomial(clips[:, truth] - right[:, truth], share)
    return confusions


def true_uf1(profiles: np.ndarray, mean: float, sd: float) -> float:
    """UF1 over very many subjects."""
    draw = np.random.default_rng(1)
    clips = profiles[draw.integers(0, len(profiles), TRUTH_SUBJECTS)]
    ability = draw.normal(mean, sd, TRUTH_SUBJECTS)
    confusions = answers(clips, ability, prior_of(profiles), draw)
    return float(point_figures(confusions.sum(axis=0)[None])[0])


def true_mean_uf1(profiles: np.ndarray, mean: float, spread: tuple[float, float, float]) -> float:
    """Mean UF1 over very many seeds and subjects, by Gauss-Hermite quadrature over the seeds."""
    of_subjects, of_seeds, of_both = spread
    nodes, weights = np.polynomial.hermite_e.hermegauss(15 if of_seeds else 1)
    sd = float(np.hypot(of_subjects, of_both))
    values = [true_uf1(profiles, mean + of_seeds * node, sd) for node in nodes]
    return float(np.average(values, weights=weights))


def prior_of(profiles: np.ndarray) -> np.ndarray:
    """Fraction of each class, (K,)."""
    return profiles.sum(axis=0) / profiles.sum()


def study(profiles: np.ndarray, mean: float, sd: float, draw: np.random.Generator) -> Counts:
    """One simulated study on as many subjects as the table has."""
    number = len(profiles)
    clips = profiles[draw.integers(0, number, number)]
    confusions = answers(clips, draw.normal(mean, sd, number), prior_of(profiles), draw)
    return Counts(tuple(f"s{n:03d}" for n in range(number)), confusions, None, None)


def clip_interval_holds(counts: Counts, truth: float, draw: np.random.Generator) -> bool:
    """Whether the percentile interval over single clips holds the truth."""
    pooled = counts.pooled
    drawn = draw.multinomial(pooled.sum(), pooled.ravel() / pooled.sum(), 2_000)
    stack = drawn.reshape(-1, *pooled.shape)
    hits = np.diagonal(stack, axis1=1, axis2=2)
    values = (2 * hits / (stack.sum(axis=2) + stack.sum(axis=1))).mean(axis=1)
    low, high = np.quantile(values, [0.025, 0.975])
    return bool(low <= truth <= high)


def coverage(profiles: np.ndarray, sd: float, simulations: int, mean: float) -> dict[str, Any]:
    """Coverage of both intervals and the error rate of the swap test at 5 %."""
    truth = true_uf1(profiles, mean, sd)
    draw = np.random.default_rng(2)
    held = {"subjects": 0, "clips": 0}
    false_alarms = 0
    for _ in range(simulations):
        counts = study(profiles, mean, sd, draw)
        weights = subject_weights(counts.subjects)
        values = figures(weights, counts.confusions)[0]
        own = float(point_figures(counts.confusions)[0])
        left_out = jackknife(counts.confusions)[0]
        ends = interval(values, own, left_out, subject_sizes(counts.confusions))
        assert ends.low is not None
        assert ends.high is not None
        held["subjects"] += ends.low <= truth <= ends.high
        held["clips"] += clip_interval_holds(counts, truth, draw)
        false_alarms += swap_test(*alike(profiles, mean, sd, draw)) <= 0.05
    return {
        "subject_logit_sd": sd,
        "simulations": simulations,
        "true_uf1": truth,
        "subject_interval_covers": held["subjects"] / simulations,
        "clip_interval_covers": held["clips"] / simulations,
        "swap_test_false_positives": false_alarms / simulations,
    }


def coverage_over_seeds(
    profiles: np.ndarray,
    spread: tuple[float, float, float],
    truth: float,
    subjects: int,
    flags: Any,
) -> list[dict[str, Any]]:
    """Coverage of the interval over seeds, a row for each number of seeds."""
    prior = prior_of(profiles)
    of_subjects, of_seeds, of_both = spread
    names = tuple(f"s{n:03d}" for n in range(subjects))
    rows = []
    for number in SEEDS:
        draw, held, widths = np.random.default_rng(2), 0, []
        for _ in range(flags.seed_simulations):
            clips = profiles[draw.integers(0, len(profiles), subjects)]
            ability = draw.normal(flags.mean, of_subjects, subjects)
            seeds = []
            for _ in range(number):
                effect = draw.normal(0, of_seeds) + draw.normal(0, of_both, subjects)
                confusions = answers(clips, ability + effect, prior, draw)
                seeds.append(Counts(names, confusions, None, None))
            ends = seed_interval(seeds)
            assert ends.low is not None
            assert ends.high is not None
            held += ends.low <= truth <= ends.high
            widths.append(ends.high - ends.low)
        rows.append(
            {
                "seeds": number,
                "given": number >= LEAST_SEEDS,
                "subjects": subjects,
                "subject_logit_sd": of_subjects,
                "seed_sd": of_seeds,
                "subject_seed_sd": of_both,
                "simulations": flags.seed_simulations,
                "true_uf1": truth,
                "covers": held / flags.seed_simulations,
                "median_width": float(np.median(widths)),
            }
        )
    return rows


def alike(
    profiles: np.ndarray, mean: float, sd: float, draw: np.random.Generator
) -> tuple[Counts, Counts]:
    """Two methods of equal quality on the same clips that have half of the ability in common."""
    number = len(profiles)
    clips = profiles[draw.integers(0, number, number)]
    names = tuple(f"s{n:03d}" for n in range(number))
    shared = draw.normal(0, sd, number)
    pair = []
    for _ in range(2):
        ability = mean + np.sqrt(0.5) * (shared + draw.normal(0, sd, number))
        pair.append(Counts(names, answers(clips, ability, prior_of(profiles), draw), None, None))
    return pair[0], pair[1]


def main() -> None:
    """Run the studies and print a line for each spread of the subjects and the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1_000)
    parser.add_argument("--seed-simulations", type=int, default=2_000)
    parser.add_argument("--sd", type=float, nargs="+", default=[1.0, 1.5])
    parser.add_argument("--mean", type=float, default=1.3, help="ability of the mean subject")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    flags = parser.parse_args()
    profiles = label_profiles(flags.labels)
    rows = []
    for sd in flags.sd:
        started = time.perf_counter()
        row = coverage(profiles, sd, flags.simulations, flags.mean)
        rows.append({**row, "seconds": time.perf_counter() - started})
    for spread in SPREADS:
        truth = true_mean_uf1(profiles, flags.mean, spread)
        for subjects in (len(profiles), FEW_SUBJECTS):
            rows += coverage_over_seeds(profiles, spread, truth, subjects, flags)
    report("coverage", rows, flags.json)


if __name__ == "__main__":
    main()
