import dataclasses
from pathlib import Path

import pytest
import torch

from dadnet.training.checkpoint import CheckpointFile


class TestCheckpointFile:
    def file(self, tmp_path: Path) -> CheckpointFile:
        return CheckpointFile(tmp_path / "sub" / "f.pt", "e" * 16, "d/s1")

    def test_nothing_saved_is_none(self, tmp_path):
        assert self.file(tmp_path).load() is None

    def test_a_state_comes_back(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 3, "x": torch.arange(3)})
        state = file.load()
        assert state is not None
        assert state["epoch"] == 3
        assert torch.equal(state["x"], torch.arange(3))

    @pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
    def test_a_truncated_state_is_set_aside_with_a_warning(self, tmp_path, keep):
        file = self.file(tmp_path)
        file.save({"x": torch.randn(1000)})
        data = file.path.read_bytes()
        file.path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
        with pytest.warns(UserWarning, match="set aside"):
            assert file.load() is None
        assert not file.path.exists()

    def test_a_state_of_another_fold_is_set_aside(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 1})
        other = dataclasses.replace(file, fold="d/s2")
        with pytest.warns(UserWarning, match="made for"):
            assert other.load() is None

    def test_a_state_that_would_run_code_is_not_run(self, tmp_path):
        file = self.file(tmp_path)
        file.path.parent.mkdir()

        class Evil:
            def __reduce__(self):
                return Path.touch, (tmp_path / "pwned",)

        torch.save({"experiment": "e" * 16, "fold": "d/s1", "state": Evil()}, file.path)
        with pytest.warns(UserWarning, match="set aside"):
            assert file.load() is None
        assert not (tmp_path / "pwned").exists()
