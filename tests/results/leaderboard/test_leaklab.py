import numpy as np
import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.leaderboard.leaklab import Labels, constants, labels_of_table, luck, perfect

GOOD = {"a": ["n>n", "p>p"], "b": ["s>s", "n>n"], "c": ["p>p", "s>n"]}


@pytest.fixture
def megc(published_log) -> Labels:
    return labels_of_table(published_log)


def test_coins_on_the_megc_labels(megc):
    assert (len(megc.subjects), megc.clips.sum()) == (68, 442)
    assert megc.clips.sum(axis=0).tolist() == [250, 109, 83]
    found = [luck(megc, draws, 40).uf1 for draws in (1, 10, 100, 800)]
    assert found == pytest.approx([0.34, 0.58, 0.75, 0.83], abs=0.012)


def test_fold_averaging_of_coins_constants_and_the_perfect(megc):
    assert luck(megc, 1, 40).fold_uf1 == pytest.approx(0.330, abs=0.01)
    assert luck(megc, 10, 40).fold_uf1 == pytest.approx(0.655, abs=0.01)
    name, pooled, present, _ = constants(megc)[0]
    assert name == "negative"
    assert (pooled, present) == pytest.approx((0.241, 0.458), abs=2e-3)
    assert perfect(megc) == pytest.approx((1.0, 1.0, 0.632), abs=2e-3)


def test_best_of_two_by_hand():
    # one subject, one clip, two equal classes: right with 1/2, best of two with 3/4
    labels = Labels("x", ("a", "b"), ("s", "t"), np.array([[1, 0], [0, 1]]))
    draws = luck(labels, 2, 4_000)
    # both right 9/16 (UF1 1), one right 6/16 (UF1 1/3), none 1/16 (UF1 0)
    assert draws.uf1 == pytest.approx(9 / 16 + 6 / 16 / 3, abs=0.02)
    assert luck(labels, 2, 4_000) == draws


def test_draws_must_be_positive_and_tables_whole(megc, tmp_path):
    with pytest.raises(DadnetError, match="from 1"):
        luck(megc, 0, 10)
    path = tmp_path / "labels.csv"
    path.write_text("subject,emotion\na,b\n")
    with pytest.raises(DadnetError, match="subject and label"):
        labels_of_table(path)


def test_the_command_shows_coins_and_our_own_gain(ledger, fill, tmp_path, capsys):
    fill({**GOOD, "a": ["n>p", "p>n"]})
    fill(GOOD, selection="oracle")
    words = ["leaklab", "--ledger", str(ledger.root), "--k", "1,10", "--repeats", "20"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "best of 10 per subject" in said
    assert "peeking gains +0." in said
    page = (tmp_path / "leaklab.html").read_text()
    assert "Always negative" in page
    assert "Gain over the honest twin" in page
