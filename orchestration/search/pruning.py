"""Which rule stops a trial early, and what it looks at.

By fold: the folds have one order, seeded and shuffled, for all trials, so that the k-th report of
two trials is of the same fold. The signal is the mean over a fold's val subjects of the subject's
mean log-likelihood (the log-loss with its sign turned): a proper score, which the UF1 of a single
fold is not. A trial is stopped when a paired one-sided Wilcoxon test says that its folds are worse
than those of the best trial so far. It is forgiving: never before `MIN_FOLDS` folds, and not while
the trial's mean is the better one.

By epoch: asynchronous successive halving (Li et al. 2018) over the epochs of all folds.
"""

import warnings
from typing import Literal

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner

Pruning = Literal["folds", "asha", "none"]
MIN_FOLDS = 6
P_THRESHOLD = 0.05


def make_pruner(pruning: Pruning, epochs: int) -> BasePruner:
    """The rule of a name.

    Args:
        pruning: its name.
        epochs: of one fold; the first rung of `asha` is a tenth of them.
    """
    if pruning == "none":
        return NopPruner()
    if pruning == "asha":
        return SuccessiveHalvingPruner(min_resource=max(1, epochs // 10), reduction_factor=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=P_THRESHOLD, n_startup_steps=MIN_FOLDS)
