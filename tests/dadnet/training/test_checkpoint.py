import dataclasses
import io
from pathlib import Path

import pytest
import torch

from dadnet.base.digests import code_digest, with_checksum
from dadnet.training import checkpoint
from dadnet.training.checkpoint import CheckpointFile
from tests.build.damage import flip, some_bits
from tests.build.listing import IRREGULAR, put_irregular


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

    def test_a_state_with_one_changed_bit_is_set_aside_with_one_warning(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 1, "x": torch.randn(100)})
        whole = file.path.read_bytes()
        for bit in some_bits(file.path, 200, first=8 * 90):
            file.path.write_bytes(whole)
            flip(file.path, bit)
            with pytest.warns(UserWarning, match=r"f\.pt\.damaged \(.*checksum") as caught:
                assert file.load() is None
            assert len(caught) == 1
            assert [path.name for path in file.path.parent.iterdir()] == ["f.pt.damaged"]

    def test_a_state_of_an_older_version_has_no_checksum_and_is_set_aside(self, tmp_path):
        file = self.file(tmp_path)
        file.path.parent.mkdir()
        torch.save({"experiment": "e" * 16, "fold": "d/s1", "state": {"epoch": 1}}, file.path)
        with pytest.warns(UserWarning, match="it has no checksum"):
            assert file.load() is None

    def test_a_state_of_another_fold_is_set_aside(self, tmp_path):
        file = self.file(tmp_path)
        file.save({"epoch": 1})
        other = dataclasses.replace(file, fold="d/s2")
        with pytest.warns(UserWarning, match="made for"):
            assert other.load() is None

    def test_a_state_of_another_version_of_the_program_is_set_aside(self, tmp_path, monkeypatch):
        file = self.file(tmp_path)
        with monkeypatch.context() as before:
            before.setattr(checkpoint, "code_digest", lambda: "0" * 16)
            file.save({"epoch": 1})
        with pytest.warns(UserWarning, match="made by another version of the program, code 0000"):
            assert file.load() is None

    def test_a_state_that_would_run_code_is_not_run(self, tmp_path):
        file = self.file(tmp_path)
        file.path.parent.mkdir()

        class Evil:
            def __reduce__(self):
                return Path.touch, (tmp_path / "pwned",)

        held = io.BytesIO()
        origin = {"experiment": "e" * 16, "fold": "d/s1", "code": code_digest()}
        torch.save({**origin, "state": Evil()}, held)
        file.path.write_bytes(with_checksum(held.getvalue()))
        with pytest.warns(UserWarning, match="set aside.*(?i:weights.only)"):
            assert file.load() is None
        assert not (tmp_path / "pwned").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", IRREGULAR)
def test_a_state_that_is_no_regular_file_is_set_aside_without_waiting(tmp_path, kind):
    file = CheckpointFile(tmp_path / "c.pt", "e", "f")
    put_irregular(file.path, kind)
    with pytest.warns(UserWarning, match=r"expected a regular file at .*c\.pt"):
        assert file.load() is None
    assert not file.path.is_symlink()
    assert not file.path.exists()
