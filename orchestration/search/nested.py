"""Outer groups: subjects whose labels the search of their settings never sees."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from dadnet.base.errors import DadnetError
from dadnet.base.seeding import seed_hash


def outer_groups(clips: pd.DataFrame, number: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Divide the subjects into groups of about equal size and about equal classes.

    Args:
        clips: one row per clip: subject, label.
        number: G, groups.
        seed: of the experiment.

    Returns:
        G tuples of subjects, sorted; every subject in exactly one.

    Raises:
        DadnetError: if there are fewer than 2 groups, or fewer than 3 subjects would be left.
    """
    subjects = clips["subject"].nunique()
    if number < 2 or subjects - -(-subjects // number) < 3:
        raise DadnetError(
            f"outer_groups: expected 2 or more that leave at least 3 of {subjects} subjects, "
            f"got {number}"
        )
    # Sorted, so that the groups do not depend on the order of the rows.
    clips = clips.sort_values(["subject", "label"], kind="stable")
    owner = clips["subject"].to_numpy()
    splitter = StratifiedGroupKFold(
        number, shuffle=True, random_state=seed_hash("outer groups", seed) % 2**32
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        try:
            splits = list(splitter.split(clips, clips["label"].to_numpy(), owner))
        except ValueError as error:  # no class, or no set of labels, has as many clips
            raise DadnetError(f"outer_groups: {error}") from error
    groups = tuple(tuple(sorted(set(owner[np.asarray(held)]))) for _, held in splits)
    if not all(groups):
        raise DadnetError(f"outer_groups: {number} leave a group without a subject; expected fewer")
    return groups
