"""Protocols: rules that split the clips of a dataset into folds of disjoint subjects."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from dadnet.base.errors import DadnetError, listed
from dadnet.base.seeding import seed_hash
from dadnet.config.experiment import DataConfig
from dadnet.labels.tasks import lacking, names_in

Subjects = tuple[str, ...]
Rows = npt.NDArray[np.intp]
# Draws of a validation part with every class; each has round(1 / val_fraction) candidates.
_VAL_DRAWS = 10


@dataclass(frozen=True)
class Fold:
    """The subjects of one training: for fitting, for the choice of the epoch, for the test.

    Attributes:
        name: the test subject (`loso`, `cde`), ``official``, the test dataset (`cross-dataset`) or
            the number of the group (`group-kfold`).
        fit: training subjects.
        val: subjects for the choice of the epoch; empty with selection `last`; the test subjects
            with `oracle`.
        test: subjects that are scored once, after training.
    """

    name: str
    fit: Subjects
    val: Subjects
    test: Subjects


def make_folds(clips: pd.DataFrame, config: DataConfig, seed: int) -> tuple[Fold, ...]:
    """The folds of a protocol, in the order of their names.

    Args:
        clips: one row per clip: subject, label, part.
        config: protocol, selection and val_fraction.
        seed: the experiment's seed; a fold depends only on it and on the fold's name.

    Raises:
        DadnetError: if the clips cannot be folded by this protocol.
    """
    return tuple(sorted(_PROTOCOLS[config.protocol](clips, config, seed), key=lambda f: f.name))


def _loso(clips: pd.DataFrame, config: DataConfig, seed: int) -> list[Fold]:
    subjects = _subjects(clips)
    if len(subjects) < 3:
        raise DadnetError(
            f"protocol loso: expected at least 3 subjects, got {len(subjects)}: {listed(subjects)}"
        )
    return [
        _fold(name, clips[clips["subject"] != name], (name,), config, seed) for name in subjects
    ]


def _official(clips: pd.DataFrame, config: DataConfig, seed: int) -> list[Fold]:
    parts = clips["part"]
    test = clips[parts.str.startswith("test")]
    train = clips[parts == "train"]
    if unknown := sorted(set(parts) - {"train", "val"} - set(test["part"])):
        raise DadnetError(
            f"protocol official: expected the parts train, val, test*; got {unknown}; "
            "a set without official parts takes --protocol loso"
        )
    if not len(train) or not len(test):
        raise DadnetError(
            f"protocol official: expected train and test clips, got {len(train)} and {len(test)}"
        )
    val = _subjects(clips[parts == "val"])
    return [_fold("official", train, _subjects(test), config, seed, official_val=val)]


def _cde(clips: pd.DataFrame, config: DataConfig, seed: int) -> list[Fold]:
    """Composite database evaluation: LOSO over the union (Micro-Expressions Grand Challenge 2019).

    Each fold trains on all clips of all datasets except those of one subject.
    """
    _need_datasets(clips, "cde")
    return _loso(clips, config, seed)


def _cross_dataset(clips: pd.DataFrame, config: DataConfig, seed: int) -> list[Fold]:
    datasets = clips["subject"].map(dataset_of)
    _need_datasets(clips, "cross-dataset")
    return [
        _fold(name, clips[datasets != name], _subjects(clips[datasets == name]), config, seed)
        for name in sorted(set(datasets))
    ]


def _group_kfold(clips: pd.DataFrame, config: DataConfig, seed: int) -> list[Fold]:
    """Random groups of subjects with about equal class shares."""
    clips = clips.sort_values(["subject", "label"], kind="stable")
    number = clips["subject"].nunique()
    if number <= config.num_folds:
        raise DadnetError(
            f"protocol group-kfold: expected more than num_folds ({config.num_folds}) subjects, "
            f"got {number}"
        )
    try:
        splits = _stratified_groups(clips, config.num_folds, seed_hash("group-kfold", seed))
    except ValueError as error:  # no class has as many clips as there are folds
        raise DadnetError(f"protocol group-kfold: {error}") from error
    width = len(str(config.num_folds))
    folds = []
    for k, (train, test) in enumerate(splits, start=1):
        subjects = _subjects(clips.iloc[test])
        if not subjects:  # possible with an unlucky distribution of the classes
            raise DadnetError(
                f"protocol group-kfold: group {k} is empty; expected fewer num_folds than "
                f"{config.num_folds}"
            )
        folds.append(_fold(f"group{k:0{width}d}", clips.iloc[train], subjects, config, seed))
    return folds


def dataset_of(subject: str) -> str:
    """The dataset of a subject ``dataset/subject``."""
    return subject.split("/", 1)[0]


def _need_datasets(clips: pd.DataFrame, protocol: str) -> None:
    found = sorted({dataset_of(s) for s in clips["subject"]})
    if len(found) < 2:
        raise DadnetError(
            f"protocol {protocol}: expected clips of at least two datasets, got "
            f"{listed(found)}; --flows takes several flow stores with commas between"
        )


_PROTOCOLS: dict[str, Callable[[pd.DataFrame, DataConfig, int], list[Fold]]] = {
    "loso": _loso,
    "official": _official,
    "cde": _cde,
    "cross-dataset": _cross_dataset,
    "group-kfold": _group_kfold,
}


def _fold(
    name: str,
    train: pd.DataFrame,
    test: Subjects,
    config: DataConfig,
    seed: int,
    official_val: Subjects = (),
) -> Fold:
    val: Subjects = ()
    if config.selection == "oracle":
        val = test
    elif config.selection == "inner":
        val = official_val or carve_val(train, config.val_fraction, seed_hash("val", seed, name))
    held_out = () if config.selection == "oracle" else val
    fit = tuple(s for s in _subjects(train) if s not in set(held_out))
    return Fold(name, fit, val, test)


def carve_val(train: pd.DataFrame, fraction: float, seed: int) -> Subjects:
    """Training subjects for validation, sorted, with about `fraction` of the clips.

    `train` has one row per training clip, with subject and label; `seed` is that of the splits.
    Among seeded stratified group splits, those with every class on both sides come first (with
    several labels: each label, and clips without it), then the one with a share of clips nearest
    to `fraction`.

    Raises:
        DadnetError: if there are fewer than two training subjects.
    """
    # Sorted, so that the choice does not depend on the order of the rows.
    train = train.sort_values(["subject", "label"], kind="stable")
    subjects, labels = train["subject"].to_numpy(), train["label"].to_numpy()
    commonest = int(train["label"].value_counts().max())
    splits = min(round(1 / fraction), len(set(subjects)), commonest)
    if splits < 2:
        raise DadnetError("selection inner: expected at least 2 training subjects per fold")
    best: tuple[tuple[int, int, float], Subjects] | None = None
    for attempt in range(_VAL_DRAWS):
        for fit_rows, val_rows in _stratified_groups(train, splits, seed + attempt):
            rank = _rank(labels, fit_rows, val_rows, fraction)
            if best is None or rank < best[0]:
                best = rank, tuple(sorted(set(subjects[val_rows])))
    assert best is not None
    return best[1]


def _stratified_groups(clips: pd.DataFrame, splits: int, seed: int) -> list[tuple[Rows, Rows]]:
    # scikit-learn takes a second to load, and workers receive finished folds.
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(splits, shuffle=True, random_state=seed % (2**32))
    with warnings.catch_warnings():
        # A class with fewer clips than splits: `_rank` handles it as far as possible.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(clips, clips["label"], clips["subject"]))


def _rank(
    labels: np.ndarray, fit_rows: np.ndarray, val_rows: np.ndarray, fraction: float
) -> tuple[int, int, float]:
    classes = sorted({name for text in set(labels) for name in names_in(text)})
    return (
        sum(map(len, lacking(labels[fit_rows], classes))),
        sum(map(len, lacking(labels[val_rows], classes))),
        abs(len(val_rows) / len(labels) - fraction),
    )


def _subjects(clips: pd.DataFrame) -> Subjects:
    return tuple(sorted(clips["subject"].unique()))
