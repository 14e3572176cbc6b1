import pandas as pd
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from dadnet.config import DataConfig
from dadnet.errors import DadnetError
from dadnet.protocols import carve_val, make_folds


def unequal_clips() -> pd.DataFrame:
    """Twelve subjects with 1 to 12 clips; some have one class only."""
    rows = []
    for s in range(1, 13):
        for c in range(s):
            label = "negative" if s % 4 == 0 else ("negative", "positive", "surprise")[c % 3]
            rows.append((f"d/s{s:02d}/c{c}", f"d/s{s:02d}", label, ""))
    return pd.DataFrame(rows, columns=["clip_id", "subject", "label", "part"])


def test_loso_equals_an_independent_leave_one_group_out():
    clips = unequal_clips()
    folds = make_folds(clips, DataConfig(selection="last"), 0)
    splits = LeaveOneGroupOut().split(clips, groups=clips["subject"])
    expected = sorted(
        (tuple(sorted(set(clips["subject"].iloc[a]))), clips["subject"].iloc[b[0]])
        for a, b in splits
    )
    assert sorted((f.fit, f.test[0]) for f in folds) == expected
    assert all(f.val == () for f in folds)


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_sides_are_disjoint_and_complete_and_val_covers_every_class(seed):
    clips = unequal_clips()
    by_subject = clips.groupby("subject")["label"].agg(set)
    for fold in make_folds(clips, DataConfig(), seed):
        sides = [set(fold.fit), set(fold.val), set(fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 12
        for side in (fold.fit, fold.val):
            assert set().union(*by_subject[list(side)]) == {"negative", "positive", "surprise"}
        train = clips[~clips["subject"].isin(fold.test)]
        share = train["subject"].isin(fold.val).mean()
        assert 0.1 <= share <= 0.3


def test_folds_do_not_depend_on_the_order_of_the_rows():
    clips = unequal_clips()
    shuffled = clips.sample(frac=1, random_state=5)
    assert make_folds(clips, DataConfig(), 3) == make_folds(shuffled, DataConfig(), 3)


def test_the_seed_changes_val_but_not_test():
    one, other = (make_folds(unequal_clips(), DataConfig(), seed) for seed in (0, 1))
    assert [f.test for f in one] == [f.test for f in other]
    assert [f.val for f in one] != [f.val for f in other]


def test_oracle_makes_the_test_subject_its_own_val():
    for fold in make_folds(unequal_clips(), DataConfig(selection="oracle"), 0):
        assert fold.val == fold.test
        assert len(fold.fit) == 11


def test_official_takes_its_parts_and_carves_val_from_train():
    clips = unequal_clips()
    parts = {f"d/s{s:02d}": "testA" if s < 3 else "testB" if s < 5 else "train" for s in range(13)}
    clips["part"] = clips["subject"].map(parts)
    [fold] = make_folds(clips, DataConfig(protocol="official"), 0)
    assert fold.test == ("d/s01", "d/s02", "d/s03", "d/s04")
    assert fold.val
    assert set(fold.fit) | set(fold.val) == {f"d/s{s:02d}" for s in range(5, 13)}


def test_official_keeps_a_given_val_part():
    clips = unequal_clips()
    clips["part"] = ["val" if s == "d/s12" else "testA" if s == "d/s01" else "train"
                     for s in clips["subject"]]  # fmt: skip
    [fold] = make_folds(clips, DataConfig(protocol="official"), 0)
    assert fold.val == ("d/s12",)
    assert "d/s12" not in fold.fit


def test_official_without_parts_says_what_to_do():
    with pytest.raises(DadnetError, match="--protocol loso"):
        make_folds(unequal_clips(), DataConfig(protocol="official"), 0)


def test_two_subjects_are_too_few_for_loso():
    clips = unequal_clips()
    with pytest.raises(DadnetError, match="at least 3 subjects, got 2"):
        make_folds(clips[clips["subject"] <= "d/s02"], DataConfig(), 0)


def test_val_prefers_covering_every_class_over_its_size():
    rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), *[(s, "x") for s in "cdefgh"]]
    train = pd.DataFrame(rows, columns=["subject", "label"])
    val = carve_val(train, 0.2, 7)
    assert {"a", "b"} & set(val)
    assert {"a", "b"} - set(val)
