"""A trained run in files: flow store, teacher weights, and the flags of a short experiment."""

from pathlib import Path

import pytest

from orchestration import teacher
from tests.build.flows import make_clips, write_store


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flows` (5 subjects) and `teacher.safetensors`."""
    root = tmp_path_factory.mktemp("site")
    write_store(root / "flows", make_clips(5, 6))
    macro = write_store(root / "macro", make_clips(4, 6, "synthetic-macro"), seed=1)
    words = ["--flows", str(macro), "--out", str(root / "teacher.safetensors")]
    assert teacher.main([*words, "--input-size", "32", "--epochs", "4"]) == 0
    return root
