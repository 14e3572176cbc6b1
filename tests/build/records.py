"""Small made-up ledgers: a table of right and wrong answers becomes an experiment; studies."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

import optuna

from results.ledger.records import Experiment, FoldRecord, PlannedFold, Prediction
from results.ledger.studies import StudyRecord, TrialRow

CLASSES = ("negative", "positive", "surprise")

# subject -> clips, each "truth>prediction" by first letters
Table = Mapping[str, Sequence[str]]
FOUR_SUBJECTS = {f"synthetic/s{n}": ["n>n", "p>p", "s>n"] for n in range(4)}


def build_experiment(table: Table, **changes: object) -> Experiment:
    """Return an experiment with one fold per subject of the table."""
    fields: dict[str, object] = {
        "method": "DAD-Net (micro/ultralight)",
        "dataset": "synthetic",
        "protocol": "loso",
        "class_set": "3class",
        "classes": CLASSES,
        "selection": "inner",
        "seed": 0,
        "data_digest": "d" * 16,
        "teacher_digest": None,
        "config": {"model": {"size": "micro"}, "epochs": 3},
        "folds": tuple(PlannedFold(name, (name,), len(clips)) for name, clips in table.items()),
    }
    fields.update(changes)
    name = "|".join(str(fields[key]) for key in ("method", "dataset", "protocol", "class_set"))
    name += f"|{fields['selection']}|{fields['seed']}"
    fields.setdefault("digest", hashlib.sha256(ascii(name).encode()).hexdigest()[:16])
    return Experiment(**fields)  # type: ignore[arg-type]


def build_record(
    experiment: Experiment, fold: str, clips: Sequence[str], **changes: object
) -> FoldRecord:
    """Return the record of a fold whose only test subject has the fold's name."""
    names = {name[0]: name for name in experiment.classes}
    rows = tuple(
        Prediction(f"{fold}/clip{i}", fold, "", names[clip[0]], names[clip[-1]])
        for i, clip in enumerate(clips)
    )
    others = [item.name for item in experiment.folds if item.name != fold]
    fields: dict[str, object] = {
        "experiment": experiment.digest,
        "fold": fold,
        "fit_subjects": tuple(others[1:]),
        "val_subjects": tuple(others[:1]),
        "test_subjects": (fold,),
        "selection": experiment.selection,
        "chosen_epoch": 1,
        "epochs_run": 2,
        "curves": {"train_loss": (1.25, 0.5), "val_uf1": (0.25, float("nan"))},
        "predictions": rows,
        "teacher_digest": experiment.teacher_digest,
        "audit": "no leak found",
        "host": {"hostname": "here", "seconds": 1.5},
    }
    return FoldRecord(**{**fields, **changes})  # type: ignore[arg-type]


def build_random_table(subjects: int, skill: float, seed: int, dataset: str = "synthetic") -> Table:
    """Return subjects with 2 to 12 clips, answered right with about the given probability."""
    draw = random.Random(seed)
    clips = random.Random(99)  # the truth does not depend on the method
    table = {}
    for subject in range(subjects):
        ease = min(1.0, max(0.0, skill + draw.uniform(-0.35, 0.25)))
        truths = clips.choices("nps", weights=(6, 3, 2), k=clips.randint(2, 12))
        table[f"{dataset}/sub{subject:02d}"] = [
            f"{truth}>{truth if draw.random() < ease else draw.choice('nps')}" for truth in truths
        ]
    return table


GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}

EVIL = "</script><script>alert(1)</script>"

FLOAT = optuna.distributions.FloatDistribution(0.01, 3, log=True)

INT = optuna.distributions.IntDistribution(16, 512, log=True)

SWITCH = optuna.distributions.CategoricalDistribution([False, True])


def build_trial(number: int, **changes: object) -> TrialRow:
    """A trial whose UF1 grows with the weight and not with the projections."""
    weight = 0.02 + 0.1 * ((7 * number) % 20)
    params = {"alignment_weight": weight, "num_projections": 16 + 13 * number}
    distributions = {"alignment_weight": FLOAT, "num_projections": INT}
    if number % 3:
        params["stage0"] = bool(number % 2)
        distributions["stage0"] = SWITCH
    fields = {
        "number": number,
        "state": "COMPLETE",
        "params": params,
        "distributions": {
            name: optuna.distributions.distribution_to_json(d) for name, d in distributions.items()
        },
        "values": (0.4 + weight / 10,),
        "val_uf1": 0.4 + weight / 10,
        "num_folds": 3,
        "reports": ((1, -1.0), (2, -0.9), (3, -weight)),
        "experiment": f"{number:016x}",
        "seconds": 3.5,
        "parameters": 1000,
        "why": "",
    }
    return TrialRow(**{**fields, **changes})


def build_study(scored: tuple[str, ...], **changes: object) -> StudyRecord:
    trials = [build_trial(number) for number in range(12)]
    trials.append(build_trial(12, state="PRUNED", values=None, num_folds=2))
    trials.append(build_trial(13, state="FAIL", values=None, val_uf1=None, why=f"Boom {EVIL}"))
    best = max(range(12), key=lambda n: trials[n].values[0])
    fields = {
        "digest": "ab" * 8, "name": "synthetic-alignment", "dataset": "synthetic",
        "protocol": "loso", "class_set": "3class", "level": "inner", "group": "",
        "space": "alignment", "num_subjects": 3, "objectives": ("val_uf1",),
        "folds": ("b", "a", "c"), "trials": tuple(trials), "winner": best, "scored": scored,
    }  # fmt: skip
    return StudyRecord(**{**fields, **changes})
