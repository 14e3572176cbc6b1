"""Which Ray a run uses, on which address it listens, and which clients it accepts."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import grpc
import pytest

from dadnet.base.errors import DadnetError
from orchestration.workers import connection
from tests.build.runs import run_words


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


def processes_of(root: int) -> dict[int, str]:
    """Command lines of a process and all that it started, by id."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = folder.joinpath("cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(parent)
        commands[int(folder.name)] = command.decode().replace("\0", " ")
    mine = {root}
    while more := {p for p, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return {pid: commands[pid] for pid in mine & commands.keys()}


def sockets_of(pid: int) -> set[str]:
    """Inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def listening() -> dict[str, IPv4Address | IPv6Address]:
    """Address of every socket of this machine that waits for others, by inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            raw = bytes.fromhex(fields[1].partition(":")[0])
            words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
            address = ip_address(b"".join(words))
            if fields[3] == "0A":
                found[fields[9]] = getattr(address, "ipv4_mapped", None) or address
    return found


@pytest.mark.slow
def test_every_port_of_a_run_is_on_loopback_and_its_token_is_nowhere_to_be_read(site, tmp_path):
    home, folder = tmp_path / "home", Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    home.mkdir()
    # Ray as a user has it: the tests' own settings are taken away.
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"HOME": str(home), "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    words = run_words(site, tmp_path / "runs", "--workers", "1", "--epochs", "4")
    seen: dict[str, set[str]] = {}
    commands: set[str] = set()
    try:
        run = subprocess.Popen(
            [sys.executable, "-m", "orchestration.run_loso", *words],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while run.poll() is None:
            ports = listening()
            for pid, command in processes_of(run.pid).items():
                commands.add(command)
                for inode in sockets_of(pid) & ports.keys():
                    seen.setdefault(str(ports[inode]), set()).add(command.strip())
            time.sleep(0.5)
        output = run.communicate()[0]
        assert run.returncode == 0, output
        assert "5/5" in output
        assert set(seen) == {"127.0.0.1"}, seen
        listeners = "\n".join(seen["127.0.0.1"])
        for process in ("gcs_server", "raylet", "dashboard", "ray::", "orchestration.run_loso"):
            assert process in listeners, f"no port of {process} was seen"
        token = (home / ".ray" / "auth_token").read_text()
        assert not any(token in command for command in commands)
        assert token not in output
        logs = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".log" for path in logs)
        written = [*logs, *(p for p in (tmp_path / "runs").rglob("*") if p.is_file())]
        assert [p for p in written if token.encode() in p.read_bytes()] == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_run_needs_no_home_and_takes_any_length_of_temporary_folder(site, tmp_path):
    scratch = tmp_path / ("scratch_of_a_job_" * 5)
    scratch.mkdir()
    words = run_words(site, tmp_path / "runs", "--workers", "1", "--epochs", "2")
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.run_loso", *words, "--warmup-epochs", "0"],
        env={**os.environ, "HOME": str(tmp_path / "none"), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "none").exists()
