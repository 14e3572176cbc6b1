"""Which Ray a run uses, on which address it listens, and which clients it accepts."""

import stat
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from dadnet.base.errors import DadnetError
from orchestration.workers import connection


@contextmanager
def head(wants_token: bool) -> Iterator[str]:
    """Something that answers as the head of a cluster does, on loopback."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if wants_token:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    handler = grpc.unary_unary_rpc_method_handler(answer)
    service = grpc.method_handlers_generic_handler(
        "ray.rpc.NodeInfoGcsService", {"CheckAlive": handler}
    )
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("wants_token", [True, False])
def test_a_head_is_asked_whether_it_wants_a_token(wants_token):
    with head(wants_token) as address:
        assert connection.answers_without_token(address) is not wants_token


def test_an_open_head_is_refused_if_others_can_reach_it(monkeypatch):
    with head(wants_token=False) as address:
        monkeypatch.setattr(connection, "is_outside", lambda _: True)
        with pytest.raises(DadnetError, match="answers other machines without a token"):
            connection._join(address)


def test_a_cluster_that_is_not_there_is_one_line_and_no_long_wait(monkeypatch):
    monkeypatch.setattr(connection, "PROBE_S", 0.2)
    with pytest.raises(DadnetError, match="127.0.0.1:1: expected a running cluster") as error:
        connection._join("127.0.0.1:1")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://head:10001", "head"])
def test_an_address_of_another_kind_is_refused(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(DadnetError, match="expected host:port or auto, got"):
        connection.find(address)


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("127.0.0.1:6379", False), ("localhost:6379", False), ("[::1]:6379", False),
        ("10.0.0.1:6379", True), ("0.0.0.0:6379", True), ("head.lab:6379", True),
    ],
)  # fmt: skip
def test_only_loopback_is_not_outside(address, outside):
    assert connection.is_outside(address) is outside


def test_a_submitted_copy_joins_and_nothing_else_does_by_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    for script in ("run_loso.py", "project/run_loso.py"):
        monkeypatch.setattr(sys, "argv", [str(tmp_path / script)])
        assert connection.named_address() is None
    (tmp_path / "ray_bootstrap_config.yaml").touch()  # `ray up` leaves it on its head
    assert connection.named_address() is None
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "run_loso.py")])
    assert connection.named_address() == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert connection.named_address() == "10.0.0.1:6379"


@pytest.mark.parametrize("mode", ["disabled", "Disabled", "token", None])
def test_a_ray_without_tokens_is_warned_of(mode, monkeypatch, capsys):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    connection.warn_of_no_token()
    warned = capsys.readouterr().err.startswith("warning: RAY_AUTH_MODE=disabled: whoever reaches")
    assert warned == (mode in ("disabled", "Disabled"))


def test_the_token_is_made_once_for_its_owner_alone(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    connection.ensure_token()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_text()
    assert len(made) == 64
    path.chmod(0o644)  # as Ray itself makes it
    connection.ensure_token()
    assert path.read_text() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(DadnetError, match="expected a file, but"):
        connection.ensure_token()
