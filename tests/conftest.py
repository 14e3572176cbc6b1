"""Shared fixtures: small flow stores with a learnable pattern, made without rendering faces."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before Ray is imported anywhere: tests run on loopback and need no token.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
import torch

from tests.build.flows import make_clips, write_store
from tests.servers.s3 import BUCKET, CREDENTIALS, S3Server

# One thread, as in every worker: on small tensors more threads are slower, and far slower on a
# busy machine.
torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of 5 subjects x 6 clips of 32 x 32."""
    return write_store(tmp_path / "flows", make_clips(5, 6))


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """`write_store` into a named folder of this test."""
    return lambda name, clips, **options: write_store(tmp_path / name, clips, **options)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server on loopback with an empty bucket."""
    server = S3Server.start(tmp_path_factory.mktemp("s3") / "server.log")
    try:
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """The server without faults, its credentials in the environment, no mirror yet."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield s3_server
    s3_server.fail()
