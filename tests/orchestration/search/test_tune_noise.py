"""On pure noise the nested UF1 is at chance, and the val UF1 of the winners is above it.

The flows are smooth patterns that have nothing to do with the labels. On white noise a network that
learns nothing answers with one class, whose UF1 is far below the 1/3 of answers spread over three,
and the best of many such trials can still be below chance.
"""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from orchestration import tune
from tests.build.flows import EMOTIONS, make_clips, write_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# Three classes, equally frequent, and an answer that does not depend on the truth.
CHANCE = 1 / 3
SPACE = """
def rates(trial):
    '''What can be turned without any effect on noise.'''
    return {
        "optim.lr": trial.suggest_float("lr", 1e-3, 1e-2, log=True),
        "optim.batch_size": trial.suggest_categorical("batch", [8, 12, 16]),
    }
"""


def test_on_noise_nested_is_at_chance_and_not_nested_above(tmp_path, capsys):
    clips = make_clips(12, 9)
    draws = np.random.default_rng(3)
    labels = np.concatenate([draws.permutation(EMOTIONS * 3) for _ in range(12)])
    coarse = torch.from_numpy(draws.normal(0, 1, (len(clips), 2, 4, 4)))
    flows = F.interpolate(coarse, size=(32, 32), mode="bilinear").numpy().astype(np.float16)
    write_store(tmp_path / "flows", clips.assign(emotion=labels), flows=flows)
    (tmp_path / "space.py").write_text(SPACE)
    words = [
        "--flows", str(tmp_path / "flows"), "--ledger", str(tmp_path / "runs"),
        "--site", str(tmp_path / "site"), "--space", f"{tmp_path / 'space.py'}:rates",
        "--model-type", "baseline", "--input-size", "32", "--epochs", "8", "--warmup-epochs", "0",
        "--selection", "nested", "--outer-groups", "2", "--num-trials", "12",
        "--folds-per-trial", "1", "--workers", "0", "--val-fraction", "0.2", "--pruning", "none",
    ]  # fmt: skip
    assert tune.main(words) == 0
    text = capsys.readouterr().out
    plain = float(re.search(r"not nested: UF1 (0\.\d+)", text)[1])
    nested = float(re.search(r"\nnested: UF1 (0\.\d+)", text)[1])
    print(f"not nested {plain:.4f}, nested {nested:.4f}, chance {CHANCE:.4f}")
    # 108 clips: two standard errors of an UF1 at chance are about 0.09.
    assert abs(nested - CHANCE) < 0.1
    assert plain > CHANCE
    assert plain > nested
