import re

import numpy as np
import optuna
import pytest
import torch

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import DataConfig, ExperimentConfig
from dadnet.config.presets import get_preset
from search_spaces import SPACES
from search_spaces.load import load_space
from search_spaces.space import FIXED, Space, apply_values, searchable

BASE = ExperimentConfig()
DATASETS = ("casme2", "casme3", "dfme", "fourdme")


def random_trials(number: int):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [study.ask() for _ in range(number)]


@pytest.mark.parametrize("name", SPACES)
def test_every_name_is_a_field_of_the_experiment_and_every_value_fits(name):
    for trial in random_trials(40):
        values = SPACES[name].suggest(trial)
        assert values
        assert set(values) <= set(searchable())
        assert isinstance(apply_values(BASE, values), ExperimentConfig)


@pytest.mark.parametrize("name", SPACES)
def test_parameters_of_an_experiment_give_it_again(name):
    space = SPACES[name]
    for trial in random_trials(20):
        config = apply_values(BASE, space.suggest(trial))
        params = space.params_of(config)
        again = apply_values(BASE, space.suggest(optuna.trial.FixedTrial(params)))
        assert again == config
        assert set(params) == set(trial.params)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("class_set", ["3class", "7class"])
@pytest.mark.parametrize("of_dataset", [True, False])
def test_the_published_recipe_lies_in_the_space(dataset, class_set, of_dataset):
    space = SPACES[dataset if of_dataset else "alignment"]
    recipe = get_preset("reference-v2", DataConfig(dataset=dataset, class_set=class_set))
    fixed = optuna.trial.FixedTrial(space.params_of(recipe))
    found = apply_values(recipe, space.suggest(fixed))
    if recipe.loss.alignment_weight > 0:
        assert found == recipe
    else:  # without a weight the stages do not matter, and are empty in a search
        assert found.loss.alignment_stages == ()
        assert found.model == recipe.model
        assert found.optim == recipe.optim


def test_no_stage_is_no_alignment_and_is_one_experiment():
    off = {f"stage{stage}": False for stage in range(4)}
    values = SPACES["alignment"].suggest(optuna.trial.FixedTrial(off))
    config = apply_values(BASE, values)
    assert not config.aligned
    assert config.loss.alignment_weight == 0


def test_the_alignment_covers_its_ranges():
    seen = [SPACES["alignment"].suggest(trial) for trial in random_trials(400)]
    masks = {values["loss.alignment_stages"] for values in seen}
    assert len(masks) == 16
    weights = [v["loss.alignment_weight"] for v in seen if v["loss.alignment_weight"] > 0]
    assert 0.01 <= min(weights) < 0.015
    assert 2 < max(weights) <= 3
    numbers = [v["loss.num_projections"] for v in seen if "loss.num_projections" in v]
    assert (min(numbers) < 20, max(numbers) > 400) == (True, True)


@pytest.mark.parametrize("name", ["loss.lambda", "data.protocol", "seed", *FIXED])
def test_a_field_that_may_not_vary_is_refused(name):
    with pytest.raises(DadnetError, match="expected fields out of"):
        apply_values(BASE, {name: 1})


def test_the_seed_is_no_field_of_a_space():
    assert {name.partition(".")[0] for name in searchable()} == {"model", "loss", "optim"}
    assert not [name for name in searchable() if "seed" in name]


def test_a_users_file_works(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def widths(trial):\n"
        "    'Students.'\n"
        "    return {'model.micro_size': trial.suggest_categorical('s', ['nano', 'tiny'])}\n"
    )
    space = load_space(f"{path}:widths")
    [trial] = random_trials(1)
    assert apply_values(BASE, space.suggest(trial)).model.micro_size in ("nano", "tiny")
    assert space.purpose == "Students."
    assert space.params_of is None
    name = space.name
    path.write_text(path.read_text().replace("tiny", "small"))
    assert load_space(f"{path}:widths").name != name


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nothing", "expected one of alignment, dfme"),
        ("missing.py:fn", "expected a Python file"),
        ("{path}:absent", "expected a function absent"),
        ("{broken}:fn", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_space_that_cannot_be_used_is_one_line(tmp_path, word, message):
    (tmp_path / "space.py").write_text("value = 1\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    paths = {"path": tmp_path / "space.py", "broken": tmp_path / "broken.py"}
    with pytest.raises(DadnetError, match=message):
        load_space(word.format(**paths))


@pytest.mark.parametrize(
    "value", [np.int64(8), np.array(8), torch.tensor(8), 8], ids=["numpy", "array", "tensor", "int"]
)
def test_a_number_of_any_library_is_a_plain_number(value):
    [drawn] = (
        Space("s", "test", lambda trial: {"optim.batch_size": value})
        .draw(random_trials(1)[0])
        .values()
    )
    assert drawn == 8
    assert type(drawn) is int


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "space s: expected a dict of section.field and value, got NoneType"),
        ({"optim.lr": object}, "space s: expected numbers and words; got type <class 'object'>"),
    ],
)
def test_what_no_ledger_can_hold_is_refused(values, message):
    with pytest.raises(DadnetError, match=re.escape(message)):
        Space("s", "test", lambda trial: values).draw(random_trials(1)[0])
