"""The audit: it refuses a plan in which test information could reach a decision (invariant 1)."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import pandas as pd

from dadnet.base.errors import AuditError
from dadnet.config.experiment import DataConfig
from dadnet.datasets.subjects import spelling_key, two_spellings
from dadnet.folds.protocols import Fold, dataset_of
from dadnet.labels.tasks import lacking


def audit(
    clips: pd.DataFrame,
    folds: tuple[Fold, ...],
    classes: tuple[str, ...],
    config: DataConfig,
    *,
    store_normalisation: str,
    teacher_subjects: Iterable[str] = (),
) -> str:
    """Check the plan before the first epoch.

    Args:
        clips: one row per clip: clip_id, subject, label, part, flow_digest.
        folds: the plan.
        classes: every class of the class set.
        config: selection and normalisation.
        store_normalisation: normalisation of the stored flows: ``none``, ``clip`` or ``dataset``.
        teacher_subjects: subjects that the teacher was trained on; ``dataset/*`` for all of a set.

    Returns:
        One line about the checks, for every record.

    Raises:
        AuditError: at the first leak; one line with the fold and the subjects.
    """
    _normalisation(store_normalisation)
    check_names(clips)
    _one_clip_two_subjects(clips, "clip_id", "one clip id")
    _once(clips)
    _one_clip_two_subjects(clips, "flow_digest", "identical flow")
    _two_sides(folds, config.selection)
    _coverage(clips, folds, config.protocol)
    _teacher(folds, teacher_subjects)
    _missing_class(clips, folds, classes)
    no_val = sum(any(_lacking(clips, f.val, classes)) for f in folds if f.val)
    line = (
        f"audit passed: {len(folds)} folds, {clips['subject'].nunique()} subjects, "
        f"{len(clips)} clips; subjects disjoint, no clip twice, teacher apart, "
        f"every class in fit, normalised per {config.normalisation}"
    )
    if no_val:
        line += f"; warning: {no_val} of {len(folds)} val parts lack a class"
    if config.selection == "oracle":
        line += "; ORACLE: the test subject chooses the epoch, as asked"
    return line


def check_names(clips: pd.DataFrame) -> None:
    """Refuse names that a reader takes for others, before any clip is used.

    Args:
        clips: one row per clip: clip_id, subject.

    Raises:
        AuditError: if one subject has two spellings, or a name has letters that are not visible.
    """
    if pair := two_spellings(clips["subject"].unique()):
        raise AuditError(
            f"audit: subjects on two sides: {pair[0]!a} and {pair[1]!a} are one subject "
            "in two spellings; expected one way of writing each subject"
        )
    for name in (*clips["subject"].unique(), *clips["clip_id"]):
        if not name.isprintable() or name != name.strip():
            raise AuditError(
                f"audit: the name {name!a} has blanks around it or letters that cannot be "
                "seen; ingest the data again, which removes them"
            )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _normalisation(store_normalisation: str) -> None:
    if store_normalisation not in ("none", "clip"):
        raise AuditError(
            "audit: the flows of this store were normalised on "
            f"'{store_normalisation}', so they depend on test clips; expected none or clip"
        )


def _one_clip_two_subjects(clips: pd.DataFrame, column: str, what: str) -> None:
    subjects = clips.groupby(column)["subject"].nunique()
    if len(twice := subjects[subjects > 1]):
        first = clips.loc[clips[column] == twice.index[0]]
        raise AuditError(
            f"audit: {what} under two subjects ({_some(first['subject'].unique())}): "
            f"{_some(first['clip_id'].unique())}; {len(twice)} such in all"
        )


def _once(clips: pd.DataFrame) -> None:
    if len(twice := clips.loc[clips["clip_id"].duplicated(), "clip_id"].unique()):
        raise AuditError(f"audit: expected each clip once, got twice: {_some(twice)}")


def _two_sides(folds: tuple[Fold, ...], selection: str) -> None:
    for fold in folds:
        sides = {"fit": fold.fit, "val": fold.val, "test": fold.test}
        for one, other in combinations(sides, 2):
            if selection == "oracle" and (one, other) == ("val", "test"):
                continue
            both = {spelling_key(s) for s in sides[one]} & {spelling_key(s) for s in sides[other]}
            if both:
                raise AuditError(
                    f"audit: fold {fold.name}: subjects on two sides, {one} and {other}: "
                    f"{_some(both)}"
                )


def _coverage(clips: pd.DataFrame, folds: tuple[Fold, ...], protocol: str) -> None:
    """Every subject is tested exactly once, as the protocol requires."""
    if protocol == "official":
        parts = clips[clips["part"].str.startswith("test")].groupby("subject")["part"].nunique()
        if len(both := parts[parts > 1]):
            raise AuditError(f"audit: subjects in two test parts: {_some(both.index)}")
        return
    tested = Counter(spelling_key(s) for fold in folds for s in fold.test)
    wrong = {s for s in clips["subject"].unique() if tested[spelling_key(s)] != 1}
    if wrong:
        raise AuditError(
            f"audit: protocol {protocol} tests every subject once, but here not {_some(wrong)}"
        )
    for fold in folds if protocol == "cross-dataset" else ():
        sides = [{dataset_of(spelling_key(s)) for s in side} for side in (fold.test, fold.fit)]
        if shared := sides[0] & sides[1]:
            raise AuditError(
                f"audit: fold {fold.name}: dataset on two sides, fit and test: {_some(shared)}"
            )
    if protocol in ("cde", "loso"):
        for fold in folds:
            if len(fold.test) != 1:
                raise AuditError(
                    f"audit: fold {fold.name}: protocol {protocol} tests one subject at a time, "
                    f"got {_some(fold.test)}"
                )


def _teacher(folds: tuple[Fold, ...], teacher_subjects: Iterable[str]) -> None:
    seen = {spelling_key(s) for s in teacher_subjects}
    tested = {
        s
        for fold in folds
        for s in fold.test
        if {spelling_key(s), f"{spelling_key(s).split('/')[0]}/*"} & seen
    }
    if tested:
        raise AuditError(
            f"audit: the teacher was trained on {len(tested)} of the test subjects: {_some(tested)}"
        )


def _lacking(
    clips: pd.DataFrame, subjects: tuple[str, ...], classes: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    return lacking(clips.loc[clips["subject"].isin(list(subjects)), "label"], classes)


def _missing_class(clips: pd.DataFrame, folds: tuple[Fold, ...], classes: tuple[str, ...]) -> None:
    for fold in folds:
        nowhere, everywhere = _lacking(clips, fold.fit, classes)
        if nowhere or everywhere:
            what = "no clip of" if nowhere else "no clip without"
            raise AuditError(
                f"audit: fold {fold.name}: fit has {what} {_some(nowhere or everywhere)}; "
                "expected a class set without it, or another protocol"
            )
