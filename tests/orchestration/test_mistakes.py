"""Typical mistakes: each is one line of at most 300 characters, and nothing is written."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from orchestration import main as console
from tests.build.runs import run_words

# Words of the code that say nothing to a user.
INTERNAL = re.compile(
    r"Traceback|Error\b|\w+Flags\b|\w+Config\b|OwnCode|NoneType|<class|object at|dataclass|tyro|"
    r"DataFrame|np\.|KeyError|self\."
)
LOSO = "loso RUN --workers 0"
TUNE = "tune RUN --workers 0"
# The words, with RUN for those of a short run, and a part of the message.
MISTAKES = {
    "losso": "did you mean loso?",
    "--verson": "verb: expected one of",
    f"{LOSO} --epoch 3": "did you mean --epochs?",
    f"{LOSO} --model resnet": "model",
    f"{LOSO} --model-type ststne": "did you mean ststnet?",
    f"{LOSO} --preset referense-v2": "did you mean reference-v2?",
    f"{LOSO} --class-set 3clas": "did you mean 3class?",
    f"{LOSO} --class-set none.yaml": "cannot be read",
    f"{LOSO} --dataset casme2": "expected synthetic",
    f"{LOSO} --protocol lozo": "did you mean loso?",
    f"{LOSO} --protocol cde": "at least two datasets",
    f"{LOSO} --selection outer": "selection: expected one of",
    f"{LOSO} --alignment gswdd": "did you mean gswd?",
    f"{LOSO} --alignment-stages 2,7": "rising stages",
    f"{LOSO} --epochs many": "epochs",
    f"{LOSO} --epochs 0": "expected 1 or more",
    f"{LOSO} --epochs 3 --warmup-epochs 5": "0 to below epochs (3)",
    f"{LOSO} --batch-size -1": "batch_size: expected 1 or more",
    f"{LOSO} --lr fast": "lr",
    f"{LOSO} --stack two": "stack",
    f"{LOSO} --input-size 28": "at least 32",
    f"{LOSO} --only sub99": "folds",
    f"{LOSO} --resume": "resume: there is no such flag any more",
    f"{LOSO} --flows nowhere": "there is none",
    f"{LOSO} --macro-weights nowhere.safetensors": "nowhere.safetensors",
    f"{LOSO} --macro-size base": "macro_size base",
    f"{LOSO} --model-type baseline": "a baseline has no teacher",
    f"{LOSO} --ledger": "--ledger",
    f"{LOSO} --precision fp16": "precision: expected one of",
    f"{LOSO} --model net.py:Net": "net.py",
    f"{LOSO} --augmentation flip": "augmentation",
    "loso --workers -1": "workers: expected 0 or more",
    f"{TUNE} --space alignm": "did you mean alignment?",
    f"{TUNE} --num-trials 0": "num_trials: expected 1 or more",
    f"{TUNE} --pruning hyperband": "pruning: expected one of",
    "ablate --grid module": "grid: expected different ones",
    "ablate --preset dfme-7clas": "did you mean dfme-7class?",
    "teacher --flows nowhere": "there is none",
    "ingest": "expected --dataset NAME --root DIR",
    "ingest --dataset casm2 --root FOLDER": "did you mean casme2?",
    "ingest --dataset casme2": "root: expected the folder of casme2",
    "ingest --dataset casme2 --root FOLDER": "no CASME II annotation",
    "ingest --index nowhere.csv --dataset own": "nowhere.csv",
    "ingest --index TABLE --dataset own --size 8": "24 rejected: own/s0/c0 and 23 like it: unknown",
    "ingest --index TABLE --columns subjekt=sub": "columns: expected some of",
    "doctor --dataset casm2 --root FOLDER": "did you mean casme2?",
    "doctor": "--dataset",
    "predict --input a.npy": "weights",
    "predict --weights nowhere.safetensors --input a.npy": "nowhere.safetensors",
    "convert nowhere.pth out.safetensors --classes a,b": "nowhere.pth",
    "export --weights nowhere.safetensors --out model.pt": "a name that ends in .onnx",
    "explain": "expected the digest or name of an experiment",
    "robustness --experiment abc --kinds nois --ledger FOLDER": "did you mean noise?",
    "watch --rows -1": "rows: expected 0 or more",
    "leaderboard --ledger nowhere": "nowhere",
    "run 0123 --ledger FOLDER": "0123",
    "demo --epoch 3": "did you mean --epochs?",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of 24 unknown labels, and an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(2, 32, 32)))
    rows = [f"s{k % 4},word{k},a.npy,c{k}" for k in range(24)]
    (tmp_path / "own.csv").write_text("\n".join(["subject,label,flow_path,clip_id", *rows]))
    return tmp_path


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_there_are_at_least_35():
    assert len(MISTAKES) >= 35


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_short_line_and_nothing_is_written(mistake, site, here, capsys):
    names = {"RUN": run_words(site, here / "runs"), "FOLDER": ["folder"], "TABLE": ["own.csv"]}
    words = [part for word in mistake.split() for part in names.get(word, [word])]
    before = content(here)
    assert console.main(words) == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("error: ")
    assert MISTAKES[mistake] in line
    assert len(line) <= 300
    assert not INTERNAL.search(line)
    assert content(here) == before
