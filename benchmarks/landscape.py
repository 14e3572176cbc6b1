"""A landscape of settings with a known best, and an engine that makes val sides from it.

Claims about the search (does it find the best, what does pruning save) need thousands of folds, so
only the training is replaced: the engine writes real records into a real ledger, and study,
stopping rule and Ray's parts are those of `python -m orchestration.tune`.

A trial's skill falls with the squared distance of lambda (in decades) from 0.4 and with every
stage switched other than 2 and 3 on, 0 and 1 off; the number of projections hardly matters. A
clip's margin is skill + its subject's ease + noise: the ease is the same for all trials (folds
differ in difficulty), the noise is drawn for each (experiment, fold, clip).

Label smoothing raises the skill a little and scales every logit down, which changes no answer: the
better trial is the less confident one, and can have the worse log-loss. At its default it does
nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from dadnet.base.seeding import seed_hash
from dadnet.config.experiment import DataConfig, ExperimentConfig
from dadnet.folds.dataset import MicroExpressionDataset
from dadnet.labels import metrics
from orchestration.folds.plan import Inputs, Plan, plan_of, with_config
from orchestration.search.trial import Job, OnTrialEpoch
from results.ledger.val_side import ValLedger, ValSide
from search_spaces.space import apply_values

BEST_WEIGHT, BEST_STAGES = 0.4, (2, 3)
USUAL_SMOOTHING = 0.05
_CLASSES = ("negative", "positive", "surprise")
# Loss of skill by a wrong switch of stage 0 to 3.
_SWITCH = (0.25, 0.25, 0.45, 0.60)


def skill(config: ExperimentConfig) -> float:
    """Mean margin of a clip; 1.2 at the best settings and the default smoothing."""
    on = config.loss.alignment_stages if config.loss.alignment_weight > 0 else ()
    wrong = sum(_SWITCH[s] for s in range(4) if (s in on) != (s in BEST_STAGES))
    weight = max(config.loss.alignment_weight, 1e-3)
    decades = math.log10(weight / BEST_WEIGHT) if on else 0.0
    projections = 0.03 * math.log2(config.loss.num_projections / 100)
    smoothing = 2.0 * (config.loss.label_smoothing - USUAL_SMOOTHING)
    return 1.2 - wrong - 0.8 * decades**2 + projections * bool(on) + smoothing


def confidence(config: ExperimentConfig) -> float:
    """Factor of the logits: 1 at the default smoothing of 0.05, 0.25 at 0.2."""
    return 1 - 5 * (config.loss.label_smoothing - USUAL_SMOOTHING)


def in_region(config: ExperimentConfig) -> bool:
    """Whether settings are in the known region: best stages, and lambda within half a decade."""
    return (
        config.loss.alignment_stages == BEST_STAGES
        and abs(math.log10(config.loss.alignment_weight / BEST_WEIGHT)) <= 0.5
    )


def true_uf1(config: ExperimentConfig) -> float:
    """UF1 of settings without the noise of a fold: over 200,000 clips of many subjects."""
    draws = np.random.default_rng(0)
    truth = draws.integers(0, 3, 200_000)
    margin = skill(config) + draws.normal(0, 0.8, 200_000) + draws.normal(0, 1.0, 200_000)
    wrong = (truth + draws.integers(1, 3, 200_000)) % 3
    return metrics.uf1(metrics.confusion(truth, np.where(margin > 0, truth, wrong), 3))


def make_landscape_plan(seed: int, subjects: int = 30, clips: int = 8) -> Plan:
    """LOSO over simulated subjects; nothing reads the flows."""
    draws = np.random.default_rng(seed_hash("landscape", seed))
    rows = [
        {
            "clip_id": f"synthetic/sub{s:02d}/clip{c}",
            "subject": f"synthetic/sub{s:02d}",
            "part": "",
            "flow_digest": f"{s}-{c}",
            "label": _CLASSES[int(draws.integers(0, 3)) if c > 2 else c],
        }
        for s in range(subjects)
        for c in range(clips)
    ]
    table = pd.DataFrame(rows)
    dataset = MicroExpressionDataset(
        clips=table,
        flows=torch.zeros((len(table), 2, 1, 1), dtype=torch.float16),
        labels=torch.tensor([_CLASSES.index(label) for label in table["label"]]),
        classes=_CLASSES,
        dropped={},
    )
    config = ExperimentConfig(data=DataConfig(), seed=seed)
    return plan_of(config, Inputs(dataset, f"{seed:016x}", {"normalisation": "none"}, None))


class LandscapeService:
    """A fold service that makes the val sides of a landscape at once.

    Args:
        vals: where they are written.
    """

    def __init__(self, vals: ValLedger) -> None:
        self._vals = vals
        self._bases: dict[str, Plan] = {}
        self._plans: dict[str, Plan] = {}  # of an experiment
        self.made: list[tuple[str, str]] = []

    def add_base(self, plan: Plan) -> None:
        """Add a base plan."""
        self._bases[plan.experiment.digest] = plan

    def drop_base(self, plan: Plan) -> None:
        """Do nothing."""

    def submit(self, job: Job, folds: Sequence[str]) -> None:
        """Do nothing: `wait` makes the folds."""

    def wait(self, job: Job, fold: str, on_epoch: OnTrialEpoch | None) -> None:
        """Make the fold."""
        if (plan := self._plans.get(job.experiment)) is None:
            base = self._bases[job.base]
            plan = with_config(base, apply_values(base.config, job.values))
            self._plans[job.experiment] = plan
        self._vals.put(plan.experiment, self.side(plan, fold))
        self.made.append((plan.experiment.digest, fold))

    def cancel(self, job: Job) -> None:
        """Do nothing."""

    def side(self, plan: Plan, name: str) -> ValSide:
        """The val side of a fold."""
        fold = plan.fold(name)
        confusion = np.zeros((3, 3), dtype=np.int64)
        losses: dict[str, float | None] = {}
        for subject in fold.val:
            labels = plan.dataset.labels[plan.dataset.rows((subject,))].numpy()
            probabilities = self._probabilities(plan, name, subject, labels)
            confusion += metrics.confusion(labels, probabilities.argmax(1), 3)
            losses[subject] = metrics.log_loss(probabilities, labels)
        return _side(plan, name, confusion, losses)

    def _probabilities(
        self, plan: Plan, fold: str, subject: str, labels: metrics.IntArray
    ) -> metrics.FloatArray:
        seed, digest = plan.config.seed, plan.experiment.digest
        ease = np.random.default_rng(seed_hash("ease", seed, subject)).normal(0, 0.8)
        noise = np.random.default_rng(seed_hash("noise", seed, digest, fold, subject))
        margins = skill(plan.config) + ease + noise.normal(0, 1.0, len(labels))
        wrong = (labels + noise.integers(1, 3, len(labels))) % 3
        logits = np.zeros((len(labels), 3))
        rows = np.arange(len(labels))
        logits[rows, labels] += margins
        logits[rows, 3 - labels - wrong] -= 1.0  # the third class is out of question
        exponents = np.exp(confidence(plan.config) * logits)
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _side(
    plan: Plan, name: str, confusion: metrics.IntArray, losses: Mapping[str, float | None]
) -> ValSide:
    fold = plan.fold(name)
    host: dict[str, Any] = {"seconds": 1.0, "stack": 1}
    return ValSide(
        experiment=plan.experiment.digest,
        fold=name,
        fit_subjects=fold.fit,
        val_subjects=fold.val,
        chosen_epoch=1,
        epochs_run=1,
        curves={
            "val_log_loss": (float(np.mean([x for x in losses.values() if x])),),
            "val_uf1": (metrics.uf1(confusion),),
        },
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        log_losses=losses,
        parameters=1000,
        host=host,
    )
