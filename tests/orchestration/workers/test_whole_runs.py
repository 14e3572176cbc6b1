"""Two whole runs on Ray, of one worker and of two, each of which shows several things.

The run of one worker has surroundings that are far from usual: no home, a long temporary folder,
the user's own files with our packages' names. That of two has a Ray as a user has it, with tokens;
its processes and ports are watched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from orchestration import run_loso
from orchestration.workers.train import KEEP_MEMORY
from tests.build.runs import ledger_content, run_words
from tests.build.source import ALIEN, ROOT, console_script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def words(site: Path, ledger: Path, workers: int) -> list[str]:
    return run_words(site, ledger, "--workers", str(workers))


@pytest.fixture(scope="module")
def undisturbed(site, tmp_path_factory) -> dict[str, dict]:
    ledger = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert run_loso.main(words(site, ledger, 0)) == 0
    return ledger_content(ledger)


@dataclass
class Watched:
    """A run that has ended, and what was seen of its processes and files meanwhile."""

    folder: Path
    status: int = -1
    output: str = ""
    commands: set[str] = field(default_factory=set)
    listeners: dict[str, set[str]] = field(default_factory=dict)
    environments: list[bytes] = field(default_factory=list)
    token: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.folder / "runs"

    def look(self, pid: int) -> None:
        """Remember commands, addresses of ports, and environments of workers."""
        ports = listening()
        for process, command in processes_of(pid).items():
            self.commands.add(command)
            for inode in sockets_of(process) & ports.keys():
                self.listeners.setdefault(str(ports[inode]), set()).add(command)
            if command.startswith("ray::RayTrainWorker"):
                try:
                    self.environments.append(Path(f"/proc/{process}/environ").read_bytes())
                except OSError:  # it has ended
                    continue


@pytest.fixture(scope="module")
def one(site, tmp_path_factory) -> Watched:
    """A run of one worker, by the console script."""
    seen = Watched(tmp_path_factory.mktemp("one"))
    work, scratch = seen.folder / "work", seen.folder / ("scratch_of_a_job_" * 5)
    work.mkdir()
    scratch.mkdir()
    for name in ("results", "search_spaces", "orchestration", "dadnet"):
        (work / f"{name}.py").write_text(ALIEN)
    away = {"HOME": str(seen.folder / "none"), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, console_script(work), "loso", *words(site, seen.ledger, 1)],
        cwd=work, env={**os.environ, **away}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seen.status, seen.output = done.returncode, done.stdout + done.stderr
    return seen


@pytest.fixture(scope="module")
def two(site, tmp_path_factory) -> Iterator[Watched]:
    """A run of two workers with a home and tokens of its own."""
    seen = Watched(tmp_path_factory.mktemp("two"))
    home, rays = seen.folder / "home", Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    home.mkdir()
    # The tests' own settings of Ray are taken away.
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"HOME": str(home), "RAY_TMPDIR": str(rays), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "orchestration.run_loso", *words(site, seen.ledger, 2)]
    log = seen.folder / "log"
    try:
        with log.open("w") as stream:
            run = subprocess.Popen(command, env=env, stdout=stream, stderr=stream)
        while run.poll() is None:
            seen.look(run.pid)
            time.sleep(0.5)
        seen.status, seen.output = run.returncode, log.read_text()
        seen.token = (home / ".ray" / "auth_token").read_text()
        written = [p for root in (rays, seen.ledger) for p in root.rglob("*") if p.is_file()]
        seen.files = {str(path): path.read_bytes() for path in written}
        yield seen
    finally:
        shutil.rmtree(rays, ignore_errors=True)


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
        commands[int(folder.name)] = command.decode().replace("\0", " ").strip()
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
            parts = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
            address = ip_address(b"".join(parts))
            if fields[3] == "0A":
                found[fields[9]] = getattr(address, "ipv4_mapped", None) or address
    return found


@pytest.mark.parametrize("run", ["one", "two"])
def test_one_worker_or_two_in_any_order_give_identical_records(run, request, undisturbed):
    seen = request.getfixturevalue(run)
    assert seen.status == 0, seen.output
    assert "5/5" in seen.output
    assert ledger_content(seen.ledger) == undisturbed


def test_a_run_needs_no_home_and_takes_any_length_of_temporary_folder(one):
    assert one.status == 0, one.output
    assert not (one.folder / "none").exists()


def test_the_processes_of_ray_import_our_packages(one):
    # Files of the user with their names, which end a process that imports them, lie in its folder.
    assert one.status == 0, one.output
    assert len(ledger_content(one.ledger)) == 5


def test_every_port_of_a_run_is_on_loopback(two):
    assert two.status == 0, two.output
    assert set(two.listeners) == {"127.0.0.1"}, two.listeners
    listeners = "\n".join(two.listeners["127.0.0.1"])
    for process in ("gcs_server", "raylet", "dashboard", "ray::", "orchestration.run_loso"):
        assert process in listeners, f"no port of {process} was seen"


def test_the_token_of_a_run_is_nowhere_to_be_read(two):
    assert two.token
    assert not any(two.token in command for command in two.commands)
    assert two.token not in two.output
    assert any(name.endswith(".log") for name in two.files)
    assert [name for name, data in two.files.items() if two.token.encode() in data] == []


def test_workers_keep_their_memory_and_no_idle_helper_runs_beside_them(two):
    # The C library, which reads them, leaves zeros in place of the colons.
    keep = f"GLIBC_TUNABLES={KEEP_MEMORY}".encode()
    found = [keep in environment.replace(b"\0glibc", b":glibc") for environment in two.environments]
    assert found
    assert all(found)
    assert any(name.startswith("ray::LeaseQueue") for name in two.commands)
    assert not [c for c in two.commands if c.startswith(("ray::DatasetM", "ray::PlacementG"))]
