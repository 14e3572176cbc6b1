"""What the audit and the loader refuse, they refuse before the ledger is begun."""

import numpy as np
import pytest

from orchestration import run_loso, teacher
from tests.build.flows import make_clips, write_store

WORDS = [
    "--model-type",
    "baseline",
    "--input-size",
    "32",
    "--epochs",
    "1",
    "--warmup-epochs",
    "0",
    "--workers",
    "0",
]


def renamed(one: str, other: str):
    return lambda clips: clips.replace(rf"/{one}\b", f"/{other}", regex=True)


def twice(clips):
    return clips.assign(clip_id=[clips["clip_id"][1], *clips["clip_id"][1:]])


SPOILT = {
    "a clip twice": (twice, "expected each clip once, got twice: synthetic/sub01/clip1"),
    "case": (renamed("sub02", "SUB01"), "one subject in two spellings"),
    "forms": (
        lambda clips: renamed("sub02", "e\u0301")(renamed("sub01", "\u00e9")(clips)),
        "one subject in two spellings",
    ),
    "zero width": (renamed("sub02", "sub\u200b02"), "letters that cannot be seen"),
    "blank": (renamed("sub02", "sub 01"), "one subject in two spellings"),
    "NaN": (None, "holds NaN or infinity"),
}


@pytest.fixture
def spoilt(tmp_path, request):
    change, message = SPOILT[request.param]
    clips, folder = make_clips(4, 6), tmp_path / "flows"
    if change is not None:
        return write_store(folder, change(clips)), message
    return write_store(folder, clips, flows=np.full((24, 2, 32, 32), np.nan, np.float16)), message


@pytest.mark.parametrize("spoilt", SPOILT, indirect=True)
def test_a_run_is_refused_in_one_line_before_the_ledger_is_begun(spoilt, tmp_path, capsys):
    flows, message = spoilt
    words = [*WORDS, "--flows", str(flows), "--ledger", str(tmp_path / "runs")]
    assert run_loso.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("spoilt", ["case", "zero width", "NaN"], indirect=True)
def test_a_teacher_is_refused_in_one_line(spoilt, tmp_path, capsys):
    flows, message = spoilt
    out = tmp_path / "teacher.safetensors"
    words = ["--dataset", "synthetic", "--flows", str(flows), "--out", str(out)]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "1"]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
