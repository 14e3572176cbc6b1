import dataclasses

import pandas as pd
import pytest

from dadnet.base.errors import AuditError
from dadnet.config.experiment import DataConfig
from dadnet.folds.audit import audit
from dadnet.folds.protocols import Fold, make_folds

CLASSES = ("negative", "positive", "surprise")


def clips() -> pd.DataFrame:
    rows = [
        (f"d/s{s}/c{c}", f"d/s{s}", CLASSES[c % 3], "", f"{s}-{c}")
        for s in range(6)
        for c in range(4)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "subject", "label", "part", "flow_digest"])


def check(table: pd.DataFrame, folds: tuple[Fold, ...] | None = None, **options: object) -> str:
    config = DataConfig(selection=options.pop("selection", "inner"))
    folds = folds or make_folds(table, config, 0)
    return audit(table, folds, CLASSES, config, **{"store_normalisation": "none", **options})


def test_a_clean_plan_passes_with_one_line():
    line = check(clips())
    assert line.startswith("audit passed: 6 folds, 6 subjects, 24 clips")
    assert "\n" not in line


@pytest.mark.parametrize("sides", [("fit", "val"), ("fit", "test"), ("val", "test")])
def test_a_subject_on_two_sides_is_refused(sides):
    first, *rest = make_folds(clips(), DataConfig(), 0)
    one, other = sides
    shared = (*getattr(first, other), getattr(first, one)[0])
    leak = dataclasses.replace(first, **{other: shared})
    with pytest.raises(AuditError, match=f"{one} and {other}"):
        check(clips(), (leak, *rest))


def test_one_subject_in_two_spellings_is_refused():
    table = clips()
    rows = table[table["subject"] == "d/s0"]
    twin = rows.assign(
        subject="D/S0 ", clip_id=rows["clip_id"] + "x", flow_digest=rows["flow_digest"] + "x"
    )
    with pytest.raises(AuditError, match="subjects on two sides"):
        check(pd.concat([table, twin], ignore_index=True))


def test_one_clip_id_under_two_subjects_is_refused():
    table = clips()
    table.loc[5, "clip_id"] = table.loc[0, "clip_id"]
    with pytest.raises(AuditError, match="one clip id under two subjects"):
        check(table)


def test_identical_flow_under_two_subjects_is_refused():
    table = clips()
    table.loc[5, "flow_digest"] = table.loc[0, "flow_digest"]
    with pytest.raises(AuditError, match=r"identical flow under two subjects \(d/s0, d/s1\)"):
        check(table)


def test_teacher_subjects_among_the_test_subjects_are_refused():
    with pytest.raises(AuditError, match="teacher was trained on 1 of the test subjects: d/s3"):
        check(clips(), teacher_subjects=["d/S3", "other/s1"])


def test_a_teacher_of_unknown_subjects_of_the_tested_set_is_refused():
    with pytest.raises(AuditError, match="teacher was trained on 6 of the test subjects"):
        check(clips(), teacher_subjects=["D/*"])
    assert "passed" in check(clips(), teacher_subjects=["other/*"])


def test_normalisation_over_several_clips_is_refused():
    for name in ("dataset", "fit"):
        with pytest.raises(AuditError, match=f"normalised on '{name}'"):
            check(clips(), store_normalisation=name)


def test_a_refusal_names_three_and_counts_the_rest():
    table = clips()
    table["flow_digest"] = ["same" if row % 4 == 0 else str(row) for row in range(len(table))]
    expected = r"\(d/s0, d/s1, d/s2 and 3 more\): d/s0/c0, d/s1/c0, d/s2/c0 and 3 more; 1 such"
    with pytest.raises(AuditError, match=expected):
        check(table)
    table["flow_digest"] = ["same" if row in (0, 4, 8) else str(row) for row in range(len(table))]
    with pytest.raises(AuditError, match=r"\(d/s0, d/s1, d/s2\): d/s0/c0, d/s1/c0, d/s2/c0; 1 "):
        check(table)


def test_a_class_missing_from_fit_is_refused():
    table = clips()
    table.loc[(table["label"] == "surprise") & (table["subject"] != "d/s2"), "label"] = "negative"
    with pytest.raises(AuditError, match=r"fit has no clip of surprise"):
        check(table)


def test_oracle_may_look_at_the_test_subject_and_the_line_says_so():
    assert check(clips(), selection="oracle") == (
        "audit passed: 6 folds, 6 subjects, 24 clips; subjects disjoint, no clip twice, teacher "
        "apart, every class in fit, normalised per clip; ORACLE: the test subject chooses the "
        "epoch, as asked"
    )


def test_a_val_part_without_a_class_is_counted():
    table = clips()
    first = make_folds(table, DataConfig(), 0)
    table.loc[table["subject"].isin(first[0].val) & (table["label"] == "surprise"), "label"] = (
        "negative"
    )
    lacking = sum(set(first[0].val) <= set(fold.val) for fold in first)
    assert f"; warning: {lacking} of 6 val parts lack a class" in check(table, first)


@pytest.mark.parametrize("protocol", ["loso", "cde", "cross-dataset", "group-kfold"])
def test_a_subject_that_is_never_or_twice_tested_is_refused(protocol):
    table = composite()
    config = DataConfig(protocol=protocol, num_folds=3, selection="last")
    folds = make_folds(table, config, 0)
    options = {"store_normalisation": "none"}
    assert "audit passed" in audit(table, folds, CLASSES, config, **options)
    with pytest.raises(AuditError, match="tests every subject once"):
        audit(table, folds[1:], CLASSES, config, **options)
    with pytest.raises(AuditError, match="tests every subject once"):
        audit(table, (*folds, folds[0]), CLASSES, config, **options)


def composite() -> pd.DataFrame:
    other = clips().replace(r"^d/", "e/", regex=True)
    other["flow_digest"] += "e"
    return pd.concat([clips(), other], ignore_index=True)


def test_a_dataset_on_two_sides_is_refused():
    config = DataConfig(protocol="cross-dataset", selection="last")
    first, second = make_folds(composite(), config, 0)
    leak = dataclasses.replace(first, test=first.test[1:])
    mixed = dataclasses.replace(second, fit=second.fit[1:], test=(*second.test, second.fit[0]))
    with pytest.raises(AuditError, match=r"dataset on two sides.*: d"):
        audit(composite(), (leak, mixed), CLASSES, config, store_normalisation="none")


def test_cde_that_tests_two_subjects_at_once_is_refused():
    config = DataConfig(protocol="cde", selection="last")
    first, second, *rest = make_folds(composite(), config, 0)
    both = (*first.test, *second.test)
    pair = dataclasses.replace(first, test=both, fit=tuple(s for s in first.fit if s not in both))
    with pytest.raises(AuditError, match="tests one subject at a time"):
        audit(composite(), (pair, *rest), CLASSES, config, store_normalisation="none")


def test_a_subject_in_two_test_parts_is_refused():
    table = clips()
    table["part"] = ["testA" if s in ("d/s0", "d/s1") else "train" for s in table["subject"]]
    config = DataConfig(protocol="official")
    folds = make_folds(table, config, 0)
    audit(table, folds, CLASSES, config, store_normalisation="none")
    table.loc[0, "part"] = "testB"
    with pytest.raises(AuditError, match="subjects in two test parts: d/s0"):
        audit(table, folds, CLASSES, config, store_normalisation="none")


def test_a_clip_id_twice_under_one_subject_is_refused():
    table = clips()
    table.loc[1, "clip_id"] = table.loc[0, "clip_id"]
    with pytest.raises(AuditError, match="expected each clip once, got twice: d/s0/c0"):
        check(table)


SPELLINGS = {
    "case": ("d/s0", "d/S0"),
    "blank": ("d/s0", "d/s 0"),
    "no-break blank": ("d/s0", "d/s\N{NO-BREAK SPACE}0"),
    "wide": ("d/s0", "d/s\N{FULLWIDTH DIGIT ZERO}"),
    "forms": ("d/Ren\N{LATIN SMALL LETTER E WITH ACUTE}", "d/Rene\N{COMBINING ACUTE ACCENT}"),
    "sharp s": ("d/Strasse", "d/Stra\N{LATIN SMALL LETTER SHARP S}e"),
}


@pytest.mark.parametrize("protocol", ["loso", "group-kfold"])
@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
def test_no_spelling_hides_a_subject_under_any_protocol(spellings, protocol):
    table = clips().replace(dict(zip(("d/s0", "d/s1"), spellings, strict=True)))
    config = DataConfig(protocol=protocol, num_folds=3)
    folds = make_folds(table, config, 0)
    with pytest.raises(AuditError, match="are one subject in two spellings"):
        audit(table, folds, CLASSES, config, store_normalisation="none")


@pytest.mark.parametrize("column", ["subject", "clip_id"])
@pytest.mark.parametrize("letter", ["\u200b", "\u202e", "\ufeff", "\u2060", "\u00ad", "\x07"])
def test_a_letter_that_cannot_be_seen_is_refused(column, letter):
    table = clips()
    table[column] = table[column].replace(table.loc[0, column], f"{table.loc[0, column]}{letter}x")
    with pytest.raises(AuditError, match=r"letters that cannot be seen.*ingest the data again"):
        check(table)


@pytest.mark.parametrize("seen", ["D/S 3", "d/s\u200b3", "\ufeffd/*", "d/\uff53\uff13"])
def test_no_spelling_hides_a_subject_of_a_teacher(seen):
    with pytest.raises(AuditError, match="teacher was trained on"):
        check(clips(), teacher_subjects=[seen])
