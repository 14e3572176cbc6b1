"""Subject and emotion of every clip of a synthetic set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash
from dadnet.datasets.synthetic.clips import AMPLITUDES, ClipPlan

# Shares as in the composite of the Micro-Expressions Grand Challenge 2019 (250/109/83 of 442),
# with a few clips that the three-class set leaves out.
_MICRO_SHARES = {
    "disgust": 0.35, "repression": 0.16, "happiness": 0.23, "surprise": 0.18, "others": 0.08,
}  # fmt: skip
_MACRO_SHARES = {"disgust": 1 / 6, "repression": 1 / 6, "happiness": 1 / 3, "surprise": 1 / 3}
_NEGATIVE = ("disgust", "repression")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters that determine a synthetic set.

    Attributes:
        num_subjects: number of subjects.
        num_clips: number of clips of all subjects together; at least two per subject.
        seed: seed of everything.
        amplitude: ``micro`` (unequal subjects, mostly negative; 0.5 to 2 reference pixels) or
            ``macro`` (equal subjects and classes; four times as large).
        first_subject: number of the first subject.
        image_size: side of the frames in pixels.
        shuffle_labels: permute the labels over the clips, so that nothing can be learnt.
    """

    num_subjects: int = 12
    num_clips: int = 110
    seed: int = 1
    amplitude: str = "micro"
    first_subject: int = 1
    image_size: int = 224
    shuffle_labels: bool = False

    def __post_init__(self) -> None:
        if self.num_subjects < 2:
            raise DadnetError(f"synthetic: expected two or more subjects, got {self.num_subjects}")
        if self.num_clips < 2 * self.num_subjects:
            raise DadnetError(
                f"synthetic: expected at least {2 * self.num_subjects} clips (two per subject), "
                f"got {self.num_clips}"
            )
        if self.amplitude not in AMPLITUDES:
            raise DadnetError(
                f"synthetic: amplitude: expected one of {', '.join(AMPLITUDES)}, "
                f"got {self.amplitude!r}"
            )
        if self.first_subject < 1 or self.image_size < 32 or self.seed < 0:
            raise DadnetError(
                "synthetic: expected first_subject >= 1, image_size >= 32 and seed >= 0, got "
                f"{self.first_subject}, {self.image_size} and {self.seed}"
            )


def plan_clips(parameters: Parameters) -> tuple[ClipPlan, ...]:
    """Subject and emotion of every clip, before any shuffling of labels."""
    rng = np.random.default_rng(seed_hash("plan", parameters.seed, parameters.amplitude))
    even = parameters.amplitude == "macro"
    sizes = _clips_per_subject(rng, parameters, even)
    pool = _emotions(rng, parameters.num_clips, _MACRO_SHARES if even else _MICRO_SHARES)
    emotions = _deal_evenly(pool, sizes) if even else _deal(rng, pool, sizes)
    plans = []
    for k, of_subject in enumerate(emotions):
        subject = parameters.first_subject + k
        plans += [ClipPlan(subject, i, emotion) for i, emotion in enumerate(of_subject)]
    return tuple(plans)


def _clips_per_subject(rng: np.random.Generator, parameters: Parameters, even: bool) -> list[int]:
    if even:
        weights = np.ones(parameters.num_subjects)
    else:  # from 2 clips to more than 20, as in the real sets
        weights = np.linspace(0.0, 1.0, parameters.num_subjects) ** 1.8
        weights = rng.permutation(weights * np.exp(rng.normal(0.0, 0.1, len(weights))))
    spare = parameters.num_clips - 2 * parameters.num_subjects
    return [2 + n for n in _shares(weights, spare)]


def _shares(weights: Sequence[float] | np.ndarray[Any, Any], total: int) -> list[int]:
    """Whole numbers in proportion to the weights, by largest remainder."""
    exact = np.asarray(weights, dtype=np.float64) / np.sum(weights) * total
    counts = np.floor(exact).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]:
        counts[k] += 1
    return [int(n) for n in counts]


def _emotions(rng: np.random.Generator, num_clips: int, shares: Mapping[str, float]) -> list[str]:
    counts = _shares(list(shares.values()), num_clips)
    pool = [emotion for emotion, n in zip(shares, counts, strict=True) for _ in range(n)]
    return [pool[k] for k in rng.permutation(num_clips)]


def _deal(rng: np.random.Generator, pool: list[str], sizes: list[int]) -> list[list[str]]:
    """The fifth of the subjects with the fewest clips shows one class only."""
    order = np.argsort(sizes, kind="stable")
    hands: list[list[str]] = [[] for _ in sizes]
    groups = (_NEGATIVE, ("happiness",), _NEGATIVE, ("surprise",))
    for k, subject in enumerate(order[: len(sizes) // 5]):
        fitting = [e for e in pool if e in groups[k % len(groups)]][: sizes[subject]]
        for emotion in fitting:
            pool.remove(emotion)
        hands[subject] = fitting
    for subject in rng.permutation(len(sizes)):
        missing = sizes[subject] - len(hands[subject])
        hands[subject] += pool[:missing]
        del pool[:missing]
    return hands


def _deal_evenly(pool: list[str], sizes: list[int]) -> list[list[str]]:
    """Clips sorted by emotion and dealt in turn, so that every subject has every class."""
    pool = sorted(pool)
    hands: list[list[str]] = [[] for _ in sizes]
    subject = 0
    for emotion in pool:
        while len(hands[subject]) >= sizes[subject]:
            subject = (subject + 1) % len(sizes)
        hands[subject].append(emotion)
        subject = (subject + 1) % len(sizes)
    return hands


def give_labels(plans: Sequence[ClipPlan], parameters: Parameters) -> list[tuple[ClipPlan, str]]:
    """The clips with their labels in the annotation, shuffled if requested."""
    labels = [plan.emotion for plan in plans]
    if parameters.shuffle_labels:
        rng = np.random.default_rng(seed_hash("shuffle", parameters.seed))
        # Clips that the class set drops stay dropped: the shuffled set has the same clips.
        used = [k for k, label in enumerate(labels) if label != "others"]
        for k, source in zip(used, rng.permutation(used), strict=True):
            labels[k] = plans[source].emotion
    return list(zip(plans, labels, strict=True))
