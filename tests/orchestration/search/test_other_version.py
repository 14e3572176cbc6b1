"""A study that another version of the program has begun: a warning, or with --strict a refusal."""

import pytest

from orchestration import tune
from orchestration.search import trials
from tests.build.runs import tune_words


def test_a_study_of_another_version_is_said_or_refused(site, tmp_path, monkeypatch, capsys):
    words = tune_words(site, tmp_path, "--workers", "0", "--folds-per-trial", "2")
    words += ["--selection", "inner", "--num-trials"]
    assert tune.main([*words, "1"]) == 0
    assert "version" not in capsys.readouterr().out
    assert tune.main([*words, "2", "--strict"]) == 0  # the same version
    monkeypatch.setattr(trials, "code_digest", lambda: "0" * 16)
    capsys.readouterr()
    assert tune.main([*words, "3", "--strict"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: strict: 2 of 2 trials were run by another version")
    assert tune.main([*words, "2", "--strict"]) == 0  # nothing is left to run
    capsys.readouterr()
    assert tune.main([*words, "3"]) == 0
    shown = capsys.readouterr().out
    assert "warning: 2 of 2 trials were run by another version of the program (code " in shown
    assert "(3/3" in shown


@pytest.mark.parametrize("num_trials", [2])
def test_a_line_per_trial_says_how_many_are_done_and_the_time_left(
    site, tmp_path, capsys, num_trials
):
    words = tune_words(site, tmp_path, "--workers", "0", "--folds-per-trial", "2")
    words += ["--selection", "inner", "--num-trials", str(num_trials)]
    assert tune.main(words) == 0
    shown = capsys.readouterr().out
    assert "(1/2; best" in shown
    assert "; ETA 00:" in shown
