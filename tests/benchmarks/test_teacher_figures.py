"""The figures that are stored of the study, its page, and what the demo says of them."""

import json
from collections import Counter

from benchmarks import teacher_figures as shown
from benchmarks import teacher_helps as study
from orchestration import demo
from tests.build.source import ROOT

ROWS = json.loads((ROOT / "benchmarks/results/teacher_helps.json").read_text())["rows"]


def test_the_page_has_every_setting_and_seed_of_the_stored_figures():
    pairs = Counter((row["setting"], row["seed"]) for row in ROWS)
    assert pairs == Counter((name, seed) for name in study.SETTINGS for seed in study.SEEDS)
    page = (ROOT / "docs/teacher.md").read_text()
    assert shown.with_table(page, ROWS) == page


def test_the_demo_has_the_setting_that_the_rule_chose_and_says_what_was_found():
    found = shown.figures(ROWS)
    setting, flags = study.SETTINGS[shown.for_demo(found) or "base"], demo.DemoFlags()
    assert (flags.subjects, flags.clips) == (setting.subjects, setting.clips)
    assert flags.epochs == study.EPOCHS
    steps = " ".join(word for step in demo.steps(flags) for word in step.words)
    assert f"--subjects {setting.teacher_subjects} --clips {setting.teacher_clips}" in steps
    assert f"--size {study.FLOW_SIZE} " in steps
    assert f"--input-size {study.INPUT_SIZE} " in steps
    assert shown.demo_words(found) == demo.STUDY
