"""The study of the teacher: it runs, its test is exact, and its rule chooses as it was fixed."""

import json
from dataclasses import asdict, replace

import pytest

from benchmarks import teacher_figures as shown
from benchmarks import teacher_helps as study
from dadnet.training.teacher import Teacher


def rows(**differences: list[float]) -> list[dict]:
    return [
        {"setting": name.replace("_", "-"), "seed": seed, "student": 0.5, "dad_net": 0.5 + change}
        for name, changes in differences.items()
        for seed, change in enumerate(changes)
    ]


UP = [0.1 + 0.01 * k for k in range(10)]


def test_a_tiny_study_measures_both_models_and_goes_on_from_its_rows(tmp_path, monkeypatch):
    tiny = study.Setting(
        words="tiny", subjects=4, clips=24, teacher_subjects=3, teacher_clips=18, stages=(3,)
    )
    settings = {"base": tiny, "untrained": replace(tiny, trained=False)}
    monkeypatch.setattr(study, "SETTINGS", settings)
    for name, size in (("FRAME_SIZE", 64), ("FLOW_SIZE", 32), ("EPOCHS", 1)):
        monkeypatch.setattr(study, name, size)
    out = tmp_path / "out.json"
    study.study([1], tmp_path, out)
    base, control = found = json.loads(out.read_text())["rows"]
    assert [row["setting"] for row in found] == list(settings)
    assert 0 <= base["dad_net"] <= 1
    assert base["student"] == control["student"]  # the same flows, folds and seed
    trained, untrained = (Teacher.load(p) for p in sorted(tmp_path.glob("seed1/*.safetensors")))
    assert trained.subjects == untrained.subjects
    assert trained.digest != untrained.digest
    monkeypatch.setattr(study, "measure", lambda *_: pytest.fail("measured again"))
    study.study([1], tmp_path, out)


def test_the_sign_flip_test_is_exact_and_holm_counts_the_settings():
    [base, few] = shown.figures(rows(base=UP, few_clips=[0.1, -0.1] * 5))
    assert base.p == pytest.approx(2 / 2**10)
    assert base.holm_p == pytest.approx(2 * base.p)
    assert (base.ahead, base.seeds) == (10, 10)
    assert base.difference == pytest.approx(0.145)
    # 2.262 is Student's t for 9 degrees of freedom; the deviation of 1 to 10 is 3.028.
    assert base.high - base.difference == pytest.approx(2.262 * 0.03028 / 10**0.5, rel=1e-3)
    assert (few.p, few.ahead) == (1.0, 5)


def test_a_refused_seed_is_left_out_and_counted():
    refused = {"setting": "base", "seed": 11, "refused": "a class is missing"}
    [base] = shown.figures([refused, *rows(base=UP)])
    assert base == shown.figures(rows(base=UP))[0]
    assert "10 of 10" in shown.table([base])


def test_the_demo_takes_the_best_of_its_settings_only_with_a_small_p_above_zero():
    higher = [0.1 + change for change in UP]
    assert shown.for_demo(shown.figures(rows(base=UP, few_clips=higher))) == "few-clips"
    assert shown.for_demo(shown.figures(rows(base=UP, published=higher))) == "base"
    assert shown.for_demo(shown.figures(rows(base=[-change for change in UP]))) is None
    assert shown.for_demo(shown.figures(rows(base=UP, few_clips=[3.0, *[-0.1] * 9]))) is None


def test_the_nine_settings_change_what_their_words_say_and_four_are_for_the_demo():
    base = asdict(study.SETTINGS["base"])
    for setting in study.SETTINGS.values():
        changed = {k for k, v in asdict(setting).items() if v != base[k]} - {"words", "for_demo"}
        sizes = {"subjects", "clips", "teacher_subjects", "teacher_clips"}
        assert setting.for_demo == (changed <= sizes)
    assert len(study.SETTINGS) == 10
    assert set(study.SEEDS) == set(range(11, 21))


def test_the_conclusion_names_only_settings_with_a_small_p_and_their_direction():
    down = [-change for change in UP]
    found = shown.figures(rows(base=[0.1, -0.1] * 5, noise=down, few_clips=UP))
    said = shown.conclusion(found).splitlines()
    assert said[0].endswith("below 0.05: 48 clips (+0.145).")
    assert said[1].endswith("below 0.05: four times the noise (-0.145).")
    assert "base" not in said[0] + said[1]
    assert "on 10 other sets of this setting the teacher helps" in said[3]
    kept = shown.demo_words(shown.figures(rows(base=[0.1, -0.1] * 5)))
    assert kept[0].startswith("on 10 other sets of this setting the teacher does not help")
