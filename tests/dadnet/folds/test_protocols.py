import pandas as pd
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig, ExperimentConfig, experiment_digest
from dadnet.folds import protocols
from dadnet.folds.protocols import carve_val, make_folds


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


def test_oracle_uses_the_test_subject_as_val():
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


@pytest.mark.parametrize(("part", "numbers"), [("train", "78 and 0"), ("testA", "0 and 78")])
def test_official_needs_both_train_and_test_clips(part, numbers):
    clips = unequal_clips().assign(part=part)
    with pytest.raises(DadnetError, match=f"expected train and test clips, got {numbers}"):
        make_folds(clips, DataConfig(protocol="official"), 0)


def test_a_name_with_slashes_belongs_to_the_dataset_before_the_first():
    assert protocols.dataset_of("samm/a/b") == "samm"


def test_two_training_subjects_are_enough_for_a_carve_and_one_is_not():
    train = pd.DataFrame([("a", "x"), ("a", "x"), ("b", "x")], columns=["subject", "label"])
    assert carve_val(train, 0.3, 0) == ("b",)
    with pytest.raises(DadnetError, match="at least 2 training subjects"):
        carve_val(train[train["subject"] == "a"], 0.3, 0)


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


@pytest.mark.parametrize("seed", range(10))
def test_a_class_that_one_subject_has_is_fitted_not_validated(seed):
    rows = [("a", "rare"), *[(s, label) for s in "abcdef" for label in ("x", "y")]]
    train = pd.DataFrame(rows, columns=["subject", "label"])
    assert "a" not in carve_val(train, 0.3, seed)


def test_the_carve_is_the_best_of_several_draws(monkeypatch):
    sizes = {"a": 9, "b": 1, "c": 7, "d": 2, "e": 5, "f": 3, "g": 8}
    rows = [(s, label) for s, n in sizes.items() for label in ("x", "y") for _ in range(n)]
    train = pd.DataFrame(rows, columns=["subject", "label"])

    def off(seed: int) -> float:
        val = carve_val(train, 0.2, seed)
        return abs(sum(sizes[s] for s in val) / sum(sizes.values()) - 0.2)

    whole, draws = [off(seed) for seed in range(5)], protocols._VAL_DRAWS
    monkeypatch.setattr(protocols, "_VAL_DRAWS", 1)
    single = [[off(seed + attempt) for attempt in range(draws)] for seed in range(5)]
    assert whole == [min(row) for row in single]
    assert any(best < row[0] for best, row in zip(whole, single, strict=True))


def composite() -> pd.DataFrame:
    """Three datasets of 3, 4 and 5 subjects, 4 clips each."""
    rows = []
    for dataset, number in {"a": 3, "b": 4, "c": 5}.items():
        for s in range(number):
            for c in range(4):
                label = ("negative", "positive", "surprise")[(c + s) % 3]
                rows.append((f"{dataset}/s{s}/{c}", f"{dataset}/s{s}", label, ""))
    return pd.DataFrame(rows, columns=["clip_id", "subject", "label", "part"])


def test_cde_leaves_one_subject_of_the_union_out():
    folds = make_folds(composite(), DataConfig(protocol="cde", selection="last"), 0)
    assert len(folds) == 12
    for fold in folds:
        assert fold.test == (fold.name,)
        assert len(fold.fit) == 11


def test_cross_dataset_leaves_one_dataset_out():
    folds = make_folds(composite(), DataConfig(protocol="cross-dataset"), 0)
    assert [f.name for f in folds] == ["a", "b", "c"]
    for fold in folds:
        assert {s[0] for s in fold.test} == {fold.name}
        assert fold.name not in {s[0] for s in (*fold.fit, *fold.val)}
        assert fold.val
        assert len(fold.fit) + len(fold.val) + len(fold.test) == 12


@pytest.mark.parametrize("protocol", ["cde", "cross-dataset"])
def test_protocols_of_several_datasets_need_them(protocol):
    message = f"protocol {protocol}: expected clips of at least two datasets, got d; --flows takes"
    with pytest.raises(DadnetError, match=message):
        make_folds(unequal_clips(), DataConfig(protocol=protocol), 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_group_kfold_tests_every_subject_once(seed):
    config = DataConfig(protocol="group-kfold", num_folds=4)
    folds = make_folds(composite(), config, seed)
    assert [f.name for f in folds] == ["group1", "group2", "group3", "group4"]
    tested = sorted(s for fold in folds for s in fold.test)
    assert tested == sorted(composite()["subject"].unique())
    for fold in folds:
        assert not set(fold.fit) & set(fold.test)
        assert set(fold.fit) | set(fold.val) | set(fold.test) == set(tested)
    shuffled = make_folds(composite().sample(frac=1, random_state=3), config, seed)
    assert folds == shuffled


def test_the_seed_changes_the_groups():
    config = DataConfig(protocol="group-kfold", num_folds=4, selection="last")
    groups = [{f.test for f in make_folds(composite(), config, seed)} for seed in (0, 1)]
    assert groups[0] != groups[1]


def test_group_kfold_needs_more_subjects_than_folds():
    with pytest.raises(DadnetError, match=r"more than num_folds \(12\) subjects, got 12"):
        make_folds(composite(), DataConfig(protocol="group-kfold", num_folds=12), 0)


def test_num_folds_is_part_of_the_experiment_only_where_it_is_used():
    def digest(**data):
        return experiment_digest(ExperimentConfig(data=DataConfig(**data)), "d", None)

    assert digest(num_folds=5) == digest(num_folds=10)
    groups = [digest(protocol="group-kfold", num_folds=n) for n in (5, 10)]
    assert len(set(groups)) == 2
