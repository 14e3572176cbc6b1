"""The blocks of code of the documents, and tiny data under the names that they use."""

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from markdown_it import MarkdownIt

from dadnet.datasets.copies.write import write_copy
from dadnet.datasets.synthetic import __main__ as synthetic
from orchestration import run_loso, teacher
from tests.build.archive import write_archive
from tests.build.flows import EMOTIONS, make_clips, write_frames, write_store
from tests.build.models import backbone, foreign
from tests.build.own_tables import write_text, write_xlsx
from tests.build.source import ROOT, short

BASIC = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
WORDS = {
    "ckplus": ("anger", "happy", "surprise"),
    "dfme": BASIC,
    "fourdme": ("negative", "positive", "surprise", "repression", "others", "negative"),
    "moods": ("tense", "smile", "stressed", "others"),
    "smic": ("negative", "positive", "surprise"),
}
TINY_TEACHER = ("--epochs", "1", "--warmup-epochs", "0", "--input-size", "32")
TINY_RUN = (*TINY_TEACHER, "--workers", "0")
STORES = (
    "casme2",
    "casme3",
    "ckplus",
    "dfme",
    "fourdme",
    "mine",
    "mine-macro",
    "moods",
    "samm",
    "smic",
)


@dataclass(frozen=True)
class Block:
    """A block of code: where it begins, its language ("" without one) and its text."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{short(self.document)}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """The fenced and the indented blocks of a document, in order."""
    tokens = MarkdownIt().parse(document.read_text())
    return [
        Block(document, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens
        if token.type in ("fence", "code_block") and token.map
    ]


def documents() -> dict[Path, list[Block]]:
    """The documents for users with their blocks; a text that several have is with the first."""
    paths = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
    seen: set[str] = set()
    found: dict[Path, list[Block]] = {}
    for path in paths:
        new = [block for block in blocks_of(path) if block.text not in seen]
        seen |= {block.text for block in new}
        if new:
            found[path] = new
    return found


def commands_of(text: str) -> list[list[str]]:
    """The words of each command of a shell block; `a && b` are two."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                found.append(words)
                words = []
    return found


def _clips(name: str, subjects: int = 4) -> pd.DataFrame:
    clips = make_clips(subjects, len(words := WORDS.get(name, EMOTIONS)), name)
    return clips.assign(
        emotion=[words[k % len(words)] for k in range(len(clips))],
        action_units=[("1+2+4", "7+12+14", "15+17")[k % 3] for k in range(len(clips))],
    )


def _dfme() -> pd.DataFrame:
    parts = {"train": 6, "testA": 3, "testB": 3}
    names = [part for part, number in parts.items() for _ in range(number * len(BASIC))]
    return _clips("dfme", 12).assign(part=names)


def _write_stores(root: Path) -> None:
    draws = np.random.default_rng(0)
    for name in STORES:
        clips = _dfme() if name == "dfme" else _clips(name)
        flows = draws.normal(size=(len(clips), 2, 32, 32)).astype(np.float16)
        write_store(root / "flows" / name, clips, flows=flows)
    write_store(root / "demo/flows/synthetic", make_clips(4, 3))


def _write_own(root: Path) -> None:
    """Tables of a user, with the frames that they name."""
    words = ("negative", "positive", "surprise")
    rows: list[list[object]] = [["subject", "label", "onset_path", "apex_path"]]
    several: list[list[object]] = [["subject", "dataset", "label", "onset_path", "apex_path"]]
    for k in range(12):
        onset, apex = write_frames(root / f"data/frames/{k}", seed=k)
        rows.append([f"p{k // 3}", words[k % 3], str(onset), str(apex)])
        several.append([f"p{k // 3}", ("CASME II", "SAMM")[k // 6], *rows[-1][1:]])
    write_text(root / "my_clips.csv", rows)
    write_xlsx(root / "my_clips.xlsx", rows)
    numbered = [[row[0], words.index(str(row[1])), *row[2:]] for row in rows[1:]]
    write_text(root / "list.csv", [rows[0], *numbered])
    write_text(root / "several.csv", several)
    write_archive(root / "three_norm_u_v_os")
    np.save(root / "clip.npy", np.ones((2, 32, 32), np.float32))


def _write_theirs(root: Path) -> None:
    """Files of other programs: predictions, a log, weights; a key of the user."""
    shutil.copy(ROOT / "tests/data/ststnet_predictions.csv", root / "theirs.csv")
    (root / "STSTNet_logfile.txt").write_text(
        "".join(
            f"Subject: {name}\nPredicted: [0, 1, 2]\nGround Truth: [0, 1, 1]\n"
            for name in ("sub01", "s01", "006")
        )
    )
    torch.save(foreign(backbone(0), 1), root / "macro_expression_weights.pth")
    (root / ".ssh").mkdir()
    key = root / ".ssh/id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shutil.copy(root / ".ssh/id_ed25519.pub", root / "key.pub")


def write_world(root: Path) -> None:
    """Everything that the documents take for granted, tiny."""
    (root / "examples").mkdir(parents=True)
    shutil.copy(ROOT / "examples/own_model.py", root / "examples")
    write_copy("casme2", root / "data/CASME2", subjects=4, size=48)
    drawn = ["--out", str(root / "demo/data/synthetic"), "--subjects", "2", "--clips", "6"]
    assert synthetic.main(drawn) == 0
    _write_stores(root)
    _write_own(root)
    _write_theirs(root)
    macro = ["--dataset", "mine-macro", "--flows", str(root / "flows/mine-macro"), *TINY_TEACHER]
    for size, name in (("ultralight", "-ultralight"), ("base", "-base"), ("micro", "-micro")):
        out = root / f"teacher{name}.safetensors"
        done = teacher.main([*macro, "--size", size, "--out", str(out)])
        assert done == 0
    for folder in (root, root / "demo"):
        shutil.copy(root / "teacher-ultralight.safetensors", folder / "teacher.safetensors")
    runs = (
        ("mine", "runs", "dad_net"),
        ("mine", "runs", "baseline"),
        ("synthetic", "demo/runs", "baseline"),
        ("synthetic", "demo/kept", "dad_net"),
    )
    for dataset, ledger, model in runs:
        store = root / ("demo" if dataset == "synthetic" else "") / "flows" / dataset
        weights = ["--macro-weights", str(root / "teacher.safetensors")]
        words = ["--dataset", dataset, "--flows", str(store), "--ledger", str(root / ledger)]
        words += ["--model-type", model, "--keep-weights", "best", *TINY_RUN]
        assert run_loso.main(words + (weights if model == "dad_net" else [])) == 0
