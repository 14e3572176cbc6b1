import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import location
from dadnet.base.object_client import RETRY_ENV
from dadnet.base.remote import RemotePath
from dadnet.flow.store import load_flow_store, publish_store
from dadnet.training.checkpoint import CheckpointFile
from tests.build.flows import make_clips
from tests.servers.s3 import CREDENTIALS, SECRET


@pytest.fixture
def folder(s3, request) -> RemotePath:
    found = location(s3.uri(f"remote/{request.node.name}"))
    assert isinstance(found, RemotePath)
    return found


def test_a_path_stays_a_path_and_a_uri_is_read_as_pyarrow_reads_it():
    assert location("runs/a") == Path("runs/a")
    assert location("file:///runs/a%20b") == Path("/runs/a b")
    found = location("s3://lab/a//b/?endpoint_override=localhost:9000&scheme=http")
    assert found == RemotePath("s3://lab", "a/b", "endpoint_override=localhost:9000&scheme=http")
    assert location(str(found / "c%2Fd.json".replace("%2F", "_"))).parent == found


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://lab/runs", "expected a path or a URI with file, s3"),
        ("s3://key:secret@lab/runs", "without credentials"),
        ("s3://lab/runs?secret_key=x", "expected anonymous, endpoint_override, region, scheme"),
        ("s3:///runs", "no bucket"),
        ("s3://lab/../other", "without .."),
    ],
)
def test_a_uri_that_cannot_be_used_is_one_line(uri, said):
    with pytest.raises(DadnetError, match=re.escape(said)) as error:
        location(uri)
    assert "secret@" not in str(error.value)
    assert "\n" not in str(error.value)


def test_of_many_writers_one_is_the_first(folder):
    path = folder / "casme2%2Fsub01.json"
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda n: path.write_once(f"writer {n}".encode()), range(8)))
    assert sum(first) == 1
    assert path.read_bytes() == f"writer {first.index(True)}".encode()
    assert [entry.name for entry in folder.entries()] == ["casme2%2Fsub01.json"]


def test_failed_slow_and_cut_answers_are_asked_for_again(folder, s3):
    path, data = folder / "a", bytes(range(256)) * 1000
    s3.fail(
        {"method": "PUT", "kind": "500", "times": 3},
        {"method": "PUT", "kind": "slow", "times": 1},
        {"method": "GET", "kind": "500", "times": 2},
        {"method": "GET", "kind": "cut", "times": 1, "path": "/a"},
    )
    assert path.write_once(data)
    assert path.read_bytes() == data
    s3.fail({"method": "GET", "kind": "cut", "times": 3})
    with pytest.raises(FileNotFoundError):  # and not: the answer ended too early
        (folder / "none").read_bytes()


def test_a_listing_that_is_cut_off_is_gone_on_with(folder, s3):
    names = [f"sub{n:04d}.json" for n in range(1200)]  # more than one answer holds
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: (folder / name).write_once(b""), names))
    s3.fail({"method": "GET", "kind": "cut", "times": 2})
    assert [entry.name for entry in folder.entries()] == names


def test_an_outage_is_one_line_and_leaves_no_half_object(folder, s3, monkeypatch):
    monkeypatch.setenv(RETRY_ENV, "0.5")
    whole = folder / "whole"
    whole.overwrite(b"x" * 300_000)
    s3.fail({"method": "PUT", "kind": "500", "times": 99})
    with pytest.raises(StorageError, match="give the same command again") as error:
        (folder / "new").write_once(b"y" * 300_000)
    assert "\n" not in str(error.value)
    s3.fail({"method": "GET", "kind": "cut", "times": 99})
    with pytest.raises(StorageError):
        whole.read_bytes()
    s3.fail()
    assert {name.rpartition("/")[2] for name in s3.content(folder.key)} == {"whole"}


def test_wrong_credentials_are_one_line_and_the_right_ones_are_nowhere(folder, monkeypatch):
    (folder / "a").write_once(b"x")
    for text in (str(folder), repr(folder), pickle.dumps(folder).decode("latin1")):
        assert not any(value in text for value in CREDENTIALS.values())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv(RETRY_ENV, "1")  # a client of its own, which looks at the environment again
    for ask in ((folder / "a").read_bytes, folder.is_dir, lambda: (folder / "b").write_once(b"")):
        with pytest.raises(StorageError, match="refuses the credentials of this environment") as e:
            ask()
        assert SECRET not in str(e.value)


def test_a_checkpoint_on_object_storage_is_whole_or_set_aside(folder):
    file = CheckpointFile(folder / "sub01.pt", "e" * 16, "sub01")
    assert file.load() is None
    file.save({"weights": torch.arange(1000.0)})
    assert torch.equal(file.load()["weights"], torch.arange(1000.0))
    file.path.overwrite(file.path.read_bytes()[:900])
    with pytest.warns(UserWarning, match="set aside as sub01.pt.damaged"):
        assert file.load() is None
    assert not file.path.exists()
    assert file.path.with_name("sub01.pt.damaged").exists()


def test_a_flow_store_on_object_storage_is_the_same(folder, make_store, store):
    assert publish_store(store, folder)
    assert not publish_store(store, folder)
    with pytest.raises(DadnetError, match="holds another flow store"):
        publish_store(make_store("other", make_clips(2, 3)), folder)
    here, there = load_flow_store(store), load_flow_store(str(folder))
    assert here.digest == there.digest
    assert here.clips.equals(there.clips)
    assert np.array_equal(here.flows, there.flows)
    (folder / "flows-00000.parquet").overwrite(b"PAR1")
    with pytest.raises(DadnetError, match="cannot be read"):
        load_flow_store(str(folder))
    with pytest.raises(DadnetError, match="expected .*card.json"):
        load_flow_store(str(folder / "none"))
