"""On pure noise the nested UF1 is at chance.

The flows are smooth patterns that have nothing to do with the labels. On white noise a network that
learns nothing answers with one class, whose UF1 is far below the 1/3 of answers spread over three.

Nothing is asserted of the val UF1 of the winners: with so few trials of so small networks it lay
above the nested figure with two of nine seeds only.
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
        "model.head": trial.suggest_categorical("head", ["tokens", "pooled", "linear"]),
        "model.drop_path": trial.suggest_float("drop", 0.0, 0.5),
    }
"""


def nested_uf1(folder, seed, capsys):
    """The nested UF1 of a search over 108 clips whose labels are drawn anew."""
    clips, draws = make_clips(12, 9), np.random.default_rng(seed)
    labels = np.concatenate([draws.permutation(EMOTIONS * 3) for _ in range(12)])
    coarse = torch.from_numpy(draws.normal(0, 1, (len(clips), 2, 4, 4)))
    flows = F.interpolate(coarse, size=(32, 32), mode="bilinear").numpy().astype(np.float16)
    write_store(folder / "flows", clips.assign(emotion=labels), flows=flows)
    (folder / "space.py").write_text(SPACE)
    words = [
        "--flows", str(folder / "flows"), "--ledger", str(folder / "runs"),
        "--site", str(folder / "site"), "--space", f"{folder / 'space.py'}:rates",
        "--model-type", "baseline", "--input-size", "32", "--epochs", "4", "--warmup-epochs", "0",
        "--selection", "nested", "--outer-groups", "2", "--num-trials", "4",
        "--folds-per-trial", "1", "--workers", "0", "--val-fraction", "0.2", "--pruning", "none",
    ]  # fmt: skip
    assert tune.main(words) == 0
    return float(re.search(r"\nnested: UF1 (0\.\d+)", capsys.readouterr().out)[1])


def test_on_noise_nested_is_at_chance(tmp_path, capsys):
    found = [nested_uf1(tmp_path / str(seed), seed, capsys) for seed in range(3)]
    print("nested", found, "chance", CHANCE)
    # Two standard errors of an UF1 at chance: about 0.09 over 108 clips, 0.052 over 324.
    assert np.mean(found) < CHANCE + 0.052
    assert np.mean(found) > CHANCE - 0.09
    assert max(found) < CHANCE + 0.1
