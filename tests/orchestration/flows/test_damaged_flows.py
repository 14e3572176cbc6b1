"""What an ingest finds of an earlier one is verified before it counts as made."""

import json
import warnings

import numpy as np
import pytest

from dadnet.base.location import location
from dadnet.flow.store import load_flow_store, read_card
from orchestration import ingest
from orchestration.flows.chunk import Chunk
from orchestration.flows.chunks import make_chunk
from tests.build.damage import flip, some_bits
from tests.build.flows import write_frames


@pytest.fixture
def table(tmp_path):
    """Own table of 3 subjects x 1 clip."""
    lines = ["subject,label,onset_path,apex_path,clip_id"]
    for s, label in enumerate(("negative", "positive", "surprise")):
        onset, apex = write_frames(tmp_path / f"c{s}", seed=s)
        lines.append(f"s{s},{label},{onset},{apex},c{s}")
    (tmp_path / "own.csv").write_text("\n".join(lines))
    return tmp_path / "own.csv"


def run(table, *words):
    given = ["--index", str(table), "--dataset", "own", "--out", str(table.parent / "flows")]
    more = ["--size", "32", "--flow", "farneback", "--workers", "0"]
    return ingest.main([*given, *more, *words])


@pytest.fixture
def interrupted(table, monkeypatch):
    """An ingest with previews whose chunks are made, but not its store; the first chunk's name."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "publish_sheets", stop)
        assert run(table, "--preview") == 3
    [first, *_] = sorted(table.parent.glob("flows/.partial/*/*.parquet"))
    return first.with_suffix("")


def made_again(table, monkeypatch):
    """The chunks that the next ingest makes, and its warnings."""
    counted = []

    def count(chunk):
        counted.append(chunk.path.stem)
        return make_chunk(chunk)

    monkeypatch.setattr(ingest, "make_chunk", count)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(table, "--preview") == 0
    return counted, [str(warning.message) for warning in caught]


def test_whole_chunks_are_not_made_again(table, interrupted, monkeypatch):
    assert made_again(table, monkeypatch) == ([], [])


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".png"])
@pytest.mark.parametrize("bit", [0, 333, -9])
def test_a_chunk_with_one_changed_bit_is_made_again(
    table, interrupted, monkeypatch, tmp_path, suffix, bit
):
    flip(interrupted.with_suffix(suffix), bit)
    counted, [warning] = made_again(table, monkeypatch)
    assert counted == ["000000"]
    assert "chunk 000000 set aside" in warning
    again = load_flow_store(tmp_path / "flows")
    (tmp_path / "flows").rename(tmp_path / "mended")
    assert run(table) == 0
    whole = load_flow_store(tmp_path / "flows")
    assert again.digest == whole.digest
    assert again.clips.equals(whole.clips)
    np.testing.assert_array_equal(again.flows, whole.flows)


def test_any_changed_bit_of_a_finished_chunk_is_found(table, interrupted):
    rows = [{"clip_id": "own/s0/c0"}]
    chunk = Chunk(interrupted.with_suffix(".parquet"), rows, None, preview=True)
    whole = {path: path.read_bytes() for path in (chunk.path, chunk.done_path, chunk.sheet_path)}
    bits = {path: some_bits(path, 100) for path in whole}
    assert chunk.finished
    for path in whole:
        for bit in bits[path]:
            for one, content in whole.items():
                one.write_bytes(content)
            flip(path, bit)
            with pytest.warns(UserWarning, match="set aside"):
                assert not chunk.finished


def test_a_chunk_of_other_clips_or_of_an_older_version_is_made_again(
    table, interrupted, monkeypatch
):
    other = interrupted.with_name("000001")
    for suffix in (".parquet", ".json", ".png"):
        interrupted.with_suffix(suffix).write_bytes(other.with_suffix(suffix).read_bytes())
    interrupted.with_name("000002.json").write_text('{"notes": {}, "rejected": []}')
    counted, caught = made_again(table, monkeypatch)
    assert sorted(counted) == ["000000", "000002"]
    assert len(caught) == 2


@pytest.mark.parametrize("name", ["flows-00000.parquet", "card.json"])
def test_given_again_a_store_with_one_changed_bit_is_made_again(table, tmp_path, capsys, name):
    assert run(table) == 0
    store = tmp_path / "flows"
    whole = {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}
    for bit in (*some_bits(store / name, 5), -1):
        flip(store / name, bit)
        damaged = (store / name).read_bytes()
        capsys.readouterr()
        assert run(table) == 0
        lines = capsys.readouterr().out
        assert lines.count("warning: flow store") == 1
        assert "is complete" not in lines
        assert (store / f"{name}.damaged").read_bytes() == damaged
        assert (store / name).read_bytes() == whole[name]
        load_flow_store(store)


@pytest.mark.parametrize("name", ["flows-00000.parquet", "card.json"])
def test_given_again_a_damaged_copy_on_object_storage_is_copied_again(
    table, s3, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(tmp_path)
    uri = s3.uri(f"copies-{name}/own")
    assert run(table, "--out", uri) == 0
    copy, whole = location(uri), (tmp_path / "flows" / "own" / name).read_bytes()
    for damaged in (b"PAR1", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        (copy / name).overwrite(damaged)
        capsys.readouterr()
        assert run(table, "--out", uri) == 0
        assert capsys.readouterr().out.count("warning: ") == 1
        assert (copy / name).read_bytes() == whole
        assert (copy / f"{name}.damaged").read_bytes() == damaged
    load_flow_store(uri)


def test_given_again_a_copy_whose_flows_are_gone_is_copied_again(table, s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = s3.uri("copies-gone/own")
    assert run(table, "--out", uri) == 0
    (location(uri) / "flows-00000.parquet").unlink()
    assert run(table, "--out", uri) == 0
    load_flow_store(uri)


def test_a_store_of_an_older_version_stays_and_its_flows_are_verified(table, tmp_path, capsys):
    assert run(table) == 0
    store = tmp_path / "flows"
    card = read_card(store)
    del card["checksums"], card["checksum"]
    old = json.dumps(card, indent=1, sort_keys=True)
    (store / "card.json").write_text(old)
    assert run(table) == 0
    assert "is complete: 3 clips" in capsys.readouterr().out
    assert (store / "card.json").read_text() == old
    flip(store / "flows-00000.parquet", 8 * 3000)
    assert run(table) == 0
    assert "warning: flow store" in capsys.readouterr().out
    load_flow_store(store)
