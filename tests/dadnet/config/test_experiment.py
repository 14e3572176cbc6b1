import dataclasses
import json
import subprocess
import sys

import pytest

from dadnet.base.errors import DadnetError
from dadnet.config.experiment import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    experiment_digest,
)
from dadnet.config.presets import PRESETS, get_preset


def digest(config: ExperimentConfig, data: str = "d", teacher: str | None = "t") -> str:
    return experiment_digest(config, data, teacher)


def with_part(part: str, **values: object) -> ExperimentConfig:
    config = ExperimentConfig()
    return dataclasses.replace(
        config, **{part: dataclasses.replace(getattr(config, part), **values)}
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataConfig(protocol="kfold"), "protocol: expected one of loso, official"),
        (lambda: DataConfig(val_fraction=0.9), "val_fraction"),
        (lambda: ModelConfig(input_size=28), "at least 32"),
        (lambda: ModelConfig(micro_size="huge"), "micro_size"),
        (lambda: LossConfig(alignment_stages=(3, 2)), "rising stages out of 0,1,2,3"),
        (lambda: LossConfig(alignment_stages=(4,)), "0,1,2,3"),
        (lambda: LossConfig(alignment_weight=-1.0), "alignment_weight"),
        (lambda: OptimConfig(epochs=5, warmup_epochs=5), "warmup_epochs"),
        (lambda: OptimConfig(lr=0.0), "lr: expected more than 0"),
        (
            lambda: ExperimentConfig(
                data=DataConfig(selection="last"), optim=OptimConfig(patience=3)
            ),
            "patience",
        ),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(DadnetError, match=message):
        make()


def test_json_round_trip_keeps_the_config():
    config = with_part("loss", alignment_stages=(0, 2, 3))
    assert ExperimentConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_unknown_keys_are_refused_with_what_is_available():
    with pytest.raises(DadnetError, match="unknown momentum; available are .*weight_decay"):
        ExperimentConfig.from_json({"optim": {"momentum": 0.9}})


@pytest.mark.parametrize(
    "changed",
    [
        with_part("data", class_set="5class"),
        with_part("model", micro_size="nano"),
        with_part("loss", alignment_weight=0.4),
        with_part("optim", lr=1e-3),
        ExperimentConfig(seed=7),
    ],
)
def test_whatever_changes_a_number_changes_the_digest(changed):
    assert digest(changed) != digest(ExperimentConfig())


def test_data_and_teacher_are_in_the_digest():
    config = ExperimentConfig()
    assert len({digest(config), digest(config, data="e"), digest(config, teacher="u")}) == 3


def test_what_a_baseline_does_not_use_does_not_split_its_experiment():
    one = with_part("model", model_type="baseline")
    other = dataclasses.replace(one, loss=LossConfig(alignment_weight=2.0, num_projections=7))
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("preset", "model_type", "expected"),
    [
        ("smoke", "dad_net", "204e0736ae67a60f"),
        ("smoke", "baseline", "7da8e7ae9f0d25ca"),
        ("reference-v2", "dad_net", "5bd6817c946bd624"),
    ],
)
def test_a_choice_that_was_added_later_leaves_old_digests_and_files_as_they_were(
    preset, model_type, expected
):
    config = get_preset(preset, DataConfig(dataset="casme2"))
    model = dataclasses.replace(config.model, model_type=model_type)
    config = dataclasses.replace(config, model=model)
    assert digest(config) == expected
    assert "alignment" not in config.to_json()["loss"]


def test_an_alignment_is_in_the_digest_with_what_it_uses_alone():
    mmd = with_part("loss", alignment="mmd")
    assert digest(mmd) == digest(with_part("loss", alignment="mmd", num_projections=7))
    sliced = with_part("loss", alignment="sliced-wasserstein")
    fewer = with_part("loss", alignment="sliced-wasserstein", num_projections=7)
    none = with_part("loss", alignment="none")
    assert digest(none) == digest(with_part("loss", alignment="none", alignment_weight=2.0))
    assert len({digest(c) for c in (ExperimentConfig(), mmd, sliced, fewer, none)}) == 5
    assert ExperimentConfig.from_json(mmd.to_json()) == mmd
    assert not none.aligned


def test_every_preset_gives_a_config_for_every_dataset():
    for name in PRESETS:
        for dataset in ("casme2", "casme3", "fourdme", "dfme"):
            for selection in ("inner", "last"):
                data = DataConfig(dataset=dataset, selection=selection)
                assert get_preset(name, data).data == data


def test_reference_v2_follows_the_public_masks():
    casme3 = get_preset("reference-v2", DataConfig(dataset="casme3"))
    assert (casme3.loss.alignment_stages, casme3.optim.augmentation) == ((0, 3), "hflip")
    seven = get_preset("reference-v2", DataConfig(dataset="dfme", class_set="7class"))
    assert (seven.model.micro_size, seven.model.stn, seven.model.head) == ("micro", False, "linear")


def test_an_unknown_preset_is_refused():
    with pytest.raises(DadnetError, match="expected one of smoke, reference-v1, reference-v2"):
        get_preset("best", DataConfig())


def test_importing_the_package_loads_neither_torch_nor_ray():
    code = "import sys, dadnet, results.leaderboard.ranking as _; "
    code += "print({'torch', 'ray'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
