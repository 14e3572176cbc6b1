import hashlib
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dadnet.base.errors import DadnetError
from dadnet.models import (
    get_dad_net,
    load_reference_state,
    load_weights,
    save_weights,
    weights_digest,
)
from tests.build.damage import flip, some_bits
from tests.build.models import backbone, foreign, seeded, two_streams


class TestLoadReferenceState:
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.backbone."])
    @pytest.mark.parametrize("layout", [1, 2])
    def test_both_layouts_fill_a_lone_network(self, layout: int, prefix: str) -> None:
        source, target = backbone(1), backbone(2)
        weights = {prefix + name: v for name, v in foreign(source, layout).items()}
        report = load_reference_state(target, weights)
        assert weights_digest(target.state_dict()) == weights_digest(source.state_dict())
        assert set(report.loaded) == set(target.state_dict())
        assert len(report.skipped) == 8  # two constants in each of four blocks
        assert all("built in" in reason for reason in report.skipped.values())
        assert report.missing == ()

    @pytest.mark.parametrize("prefix", ["", "module."])
    @pytest.mark.parametrize("layout", [1, 2])
    def test_both_layouts_fill_two_streams(self, layout: int, prefix: str) -> None:
        source, target = two_streams(1), two_streams(2)
        weights = {prefix + name: v for name, v in foreign(source, layout).items()}
        assert any("adapters.0." in name for name in weights)
        load_reference_state(target, weights)
        assert weights_digest(target.state_dict()) == weights_digest(source.state_dict())

    @pytest.mark.parametrize("model", ["backbone", "two_streams"])
    def test_our_own_state_dict_loads_and_filled_models_agree(self, model: str) -> None:
        build = {"backbone": backbone, "two_streams": two_streams}[model]
        source, target = build(1).eval(), build(2).eval()
        load_reference_state(target, source.state_dict())
        x = torch.randn(2, 2, 32, 32, generator=seeded(0))
        assert torch.equal(source(x).logits, target(x).logits)

    @pytest.mark.parametrize("branch", ["student", "teacher"])
    def test_one_stream_is_taken_out_of_two(self, branch: str) -> None:
        source = two_streams(1)
        target = backbone(2, "ultralight" if branch == "student" else "nano")
        weights = foreign(source, 1)
        with pytest.raises(DadnetError, match="branch='student' or branch='teacher'"):
            load_reference_state(target, weights)
        report = load_reference_state(target, weights, branch=branch)  # type: ignore[arg-type]
        expected = getattr(source, branch).state_dict()
        assert weights_digest(target.state_dict()) == weights_digest(expected)
        assert any(name.startswith("adapters.") for name in report.skipped)

    def test_a_lone_stream_with_a_prefix_needs_no_choice(self) -> None:
        source, target = backbone(1), backbone(2)
        weights = {f"micro_branch.{name}": v for name, v in foreign(source, 2).items()}
        load_reference_state(target, weights)
        assert weights_digest(target.state_dict()) == weights_digest(source.state_dict())
        with pytest.raises(DadnetError, match="of the teacher, the checkpoint has student"):
            load_reference_state(target, weights, branch="teacher")

    def test_missing_weights_are_refused_and_nothing_is_changed(self) -> None:
        target, weights = backbone(2), foreign(backbone(1), 1)
        before = weights_digest(target.state_dict())
        del weights["head.bias"], weights["norm.weight"]
        with pytest.raises(DadnetError, match=r"2 are missing: norm.weight, head.bias; allow"):
            load_reference_state(target, weights)
        assert weights_digest(target.state_dict()) == before

    def test_missing_weights_are_left_alone_where_allowed(self) -> None:
        target, weights = backbone(2), foreign(backbone(1), 1)
        kept = target.head.bias.detach().clone() + 1
        target.head.bias.data.copy_(kept)
        del weights["head.bias"]
        report = load_reference_state(target, weights, allow_missing=True)
        assert report.missing == ("head.bias",)
        assert torch.equal(target.head.bias, kept)

    def test_shapes_that_do_not_fit_are_reported(self) -> None:
        target, weights = backbone(2), foreign(backbone(1, classes=7), 1)
        with pytest.raises(DadnetError, match=r"head.weight \(shape \(7, 128\), expected \(3, "):
            load_reference_state(target, weights)
        report = load_reference_state(target, weights, allow_missing=True)
        assert report.missing == ("head.weight", "head.bias")
        assert report.skipped["head.bias"] == "shape (7,), expected (3,)"

    def test_unknown_names_are_reported(self) -> None:
        weights = foreign(backbone(1), 1) | {"decoder.weight": torch.zeros(1)}
        report = load_reference_state(backbone(2), weights)
        assert report.skipped["decoder.weight"] == "the model has no such weight"
        assert "skipped decoder.weight: the model has no such weight" in str(report)
        assert str(report).startswith("84 weights loaded, 9 of the checkpoint skipped, 0 of the")

    def test_a_lone_streams_names_do_not_fill_two_streams(self) -> None:
        with pytest.raises(DadnetError, match=r"no stream \(micro_branch or macro_branch\)"):
            load_reference_state(two_streams(2), foreign(backbone(1), 1))

    def test_two_names_for_one_weight_are_refused(self) -> None:
        weights = foreign(backbone(1), 1)
        weights["module.head.bias"] = weights["head.bias"]
        with pytest.raises(DadnetError, match=r"one tensor for head.bias, got head.bias and modu"):
            load_reference_state(backbone(2), weights)

    def test_another_difference_kernel_is_refused(self) -> None:
        weights = foreign(backbone(1), 1)
        weights["stages.0.0.sobel_x"] = torch.tensor([-1.0, 0.0, 2.0]).view(1, 1, 1, 3)
        with pytest.raises(DadnetError, match=r"central difference .* got \[-1.0, 0.0, 2.0\]"):
            load_reference_state(backbone(2), weights)

    def test_dtype_of_the_model_is_kept(self) -> None:
        target = backbone(2).double()
        load_reference_state(target, foreign(backbone(1), 1))
        assert target.head.weight.dtype == torch.float64


class TestWeightFiles:
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_what_is_saved_is_loaded(self, tmp_path: Path, channels_last: bool) -> None:
        model, path = backbone(1), tmp_path / "new" / "weights.safetensors"
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        save_weights(path, model, {"subjects": "a,b"})
        weights, metadata = load_weights(path)
        assert weights_digest(weights) == weights_digest(backbone(1).state_dict())
        assert metadata["subjects"] == "a,b"
        assert (metadata["model_size"], metadata["head"]) == ("ultralight", "tokens")
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_a_state_dict_is_saved_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        save_weights(path, {"a": torch.arange(3)}, {"k": "v"})
        weights, metadata = load_weights(path)
        assert weights["a"].tolist() == [0, 1, 2]
        assert metadata == {"k": "v"}

    def test_any_changed_bit_of_a_file_of_ours_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        save_weights(path, {"a": torch.randn(50), "b": torch.arange(3)}, {"k": "v"})
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        for bit in some_bits(path, 200, first=8 * header):
            path.write_bytes(whole)
            flip(path, bit)
            with pytest.raises(DadnetError, match="weights.safetensors"):
                load_weights(path, own=True)

    def test_a_file_of_another_origin_needs_no_checksum(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"k": "v"})
        assert load_weights(path).metadata == {"k": "v"}
        with pytest.raises(DadnetError, match="expected a weight file with its checksum"):
            load_weights(path, own=True)

    def test_a_checksum_that_is_there_is_verified(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        save_weights(path, {"a": torch.zeros(1)}, {})
        flip(path, -1)
        with pytest.raises(DadnetError, match="does not match its content"):
            load_weights(path)

    def test_a_failed_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "weights.safetensors"
        save_weights(path, {"a": torch.zeros(1)}, {})

        def full(_: int) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space left"):
            save_weights(path, {"a": torch.ones(1)}, {})
        assert load_weights(path).weights["a"].tolist() == [0]
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    def test_metadata_may_not_contradict_the_model(self, tmp_path: Path) -> None:
        with pytest.raises(DadnetError, match=r"got \['head'\]"):
            save_weights(tmp_path / "w.safetensors", backbone(1), {"head": "linear"})

    def test_files_that_could_run_code_are_not_opened(self, tmp_path: Path) -> None:
        torch.save({}, tmp_path / "weights.pth")
        with pytest.raises(DadnetError, match=r"expected a .safetensors file"):
            load_weights(tmp_path / "weights.pth")
        with pytest.raises(DadnetError, match=r"ends in .safetensors"):
            save_weights(tmp_path / "weights.pth", {}, {})

    def test_absent_and_damaged_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        with pytest.raises(DadnetError, match=r"expected a weight file at .* got none"):
            load_weights(path)
        save_weights(path, {"a": torch.zeros(100)}, {})
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(DadnetError, match="expected a whole safetensors file"):
            load_weights(path)

    def test_a_file_without_a_head_is_no_teacher(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        save_weights(path, {"a": torch.zeros(1)}, {})
        with pytest.raises(DadnetError, match=r"none named head.weight among a"):
            get_dad_net(3, "nano", "nano", macro_weights_path=path, input_size=32)


class TestDigest:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1)}  # noqa: RUF012

    def test_is_sha256_of_names_dtypes_shapes_and_bytes(self) -> None:
        content = b"a\0torch.float32\0(2, 3)\0" + struct.pack("<6f", 0, 1, 2, 3, 4, 5)
        content += b"b\0torch.int64\0()\0" + struct.pack("<q", 1)
        assert weights_digest(self.weights) == hashlib.sha256(content).hexdigest()[:16]

    def test_ignores_order_and_memory_format(self) -> None:
        reordered = {"b": self.weights["b"], "a": self.weights["a"].T.contiguous().T}
        assert weights_digest(reordered) == weights_digest(self.weights)

    @pytest.mark.parametrize(
        "change",
        [
            {"a": torch.arange(6.0).view(3, 2)},
            {"a": torch.arange(6).view(2, 3)},
            {"b": torch.tensor(2)},
            {"c": torch.tensor(1)},
        ],
    )
    def test_sees_shape_dtype_value_and_name(self, change: dict[str, Tensor]) -> None:
        assert weights_digest(self.weights | change) != weights_digest(self.weights)

    def test_takes_bfloat16_and_empty_tensors(self) -> None:
        odd = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.zeros(0)}
        assert len(weights_digest(odd)) == 16
