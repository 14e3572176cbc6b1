"""What happens to a cluster, in namespaces of its own: run by test_submit.py as `python inside.py`.

`ray up`, `ray down` and `ray symmetric-run` stop every Ray process that they can see; here they see
none but their own. Two hosts, each with its own network, processes, home and /tmp/ray, see the
rest of the file system as shared storage. The head sees the worker's processes too, so its `ray
stop` ends them at once. With DADNET_ONE_HOST=1 there is no second host.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import yaml

HEAD, WORKER = "10.0.0.1", "10.0.0.2"  # as onprem.yaml has them
NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--mount-proc")
TWO_HOSTS = os.environ.get("DADNET_ONE_HOST") != "1"
CPUS = os.cpu_count() or 1
LOSO = ("python", "-m", "orchestration.run_loso")
REPOSITORY = Path(__file__).parents[2]


def sh(*words: str | Path) -> str:
    """Run a command that has to succeed."""
    return subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout


def hide(*folders: str) -> None:
    """Empty folders of this host in place of the machine's."""
    for folder in folders:
        Path(folder).mkdir(exist_ok=True)
        sh("mount", "-t", "tmpfs", "tmpfs", folder)


def plug(device: str, address: str) -> None:
    """Give a network device its address and let everything go out by it."""
    sh("ip", "address", "add", f"{address}/24", "dev", device)
    sh("ip", "link", "set", device, "up")
    sh("ip", "route", "add", "default", "dev", device)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def start_sshd(root: Path, address: str) -> None:
    """Accept the user's key."""
    Path("/run/sshd").mkdir()
    settings = {
        "HostKey": root / "host",
        "AuthorizedKeysFile": root / "user.pub",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "ListenAddress": address,
        "PidFile": "none",
    }
    config = root / f"sshd-{address}"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    sh("/usr/sbin/sshd", "-f", config, "-E", root / f"sshd-{address}.log")


def be_worker(root: Path) -> None:
    """The other host: nothing but sshd and a home of its own."""
    sh("ip", "link", "set", "lo", "up")
    hide("/run", "/tmp/ray")
    sh("mount", "--bind", root / "home-of-worker", root / "home")
    wait_for(lambda: "worker0" in sh("ip", "-brief", "link"))
    plug("worker0", WORKER)
    start_sshd(root, WORKER)
    (root / "worker-is-up").touch()
    signal.pause()


class Host:
    """A machine with sshd, an account of its own, and the package where install.sh puts it."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"
        self.report: dict[str, object] = {}
        self.token = secrets.token_hex(32)

    def prepare(self) -> None:
        """Network, home, environment, sshd, and the other host."""
        sh("ip", "link", "set", "lo", "up")
        self.report["hosts"] = 2 if TWO_HOSTS else 1
        if TWO_HOSTS:
            sh("ip", "link", "add", "head0", "type", "veth", "peer", "name", "worker0")
        hide("/run", "/tmp/ray")
        self._make_home()
        for name in ("host", "user"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.root / name)
        if self.report["hosts"] == 2:
            self._start_second()
        else:
            sh("ip", "address", "add", f"{HEAD}/32", "dev", "lo")
            sh("ip", "route", "add", "default", "dev", "lo", "src", HEAD)
        start_sshd(self.root, HEAD)

    def _start_second(self) -> None:
        other = self.root / "home-of-worker"
        sh("cp", "-a", self.home, other)
        sh("rm", "-r", other / ".ray")  # the token comes with the cluster
        up = self.root / "worker-is-up"
        process = subprocess.Popen([*NAMESPACES, sys.executable, __file__, "worker", self.root])
        ours, theirs = (Path(f"/proc/{pid}/ns/net") for pid in ("self", process.pid))
        wait_for(lambda: theirs.readlink() != ours.readlink())
        sh("ip", "link", "set", "worker0", "netns", str(process.pid))
        plug("head0", HEAD)
        wait_for(up.exists)

    def _make_home(self) -> None:
        (self.home / ".ray").mkdir(parents=True)
        token = self.home / ".ray" / "auth_token"
        token.touch(0o600)
        token.write_text(self.token)
        accounts = Path("/etc/passwd").read_text().splitlines()
        mine = [f"root:x:0:0:root:{self.home}:/bin/bash"]
        (self.root / "passwd").write_text(
            "\n".join(mine + [a for a in accounts if not a.startswith("root:")]) + "\n"
        )
        sh("mount", "--bind", self.root / "passwd", "/etc/passwd")
        # What install.sh would make in minutes: an environment with the packages of this one, in
        # which the copy of the repository comes first, and its mark.
        venv = self.home / ".dadnet" / "venv"
        sh(sys.executable, "-m", "venv", "--without-pip", venv)
        [packages] = (venv / "lib").glob("python*/site-packages")
        here = f"{self.home / 'dadnet'}\n{sysconfig.get_path('purelib')}\n"
        (packages / "dadnet.pth").write_text(here)
        ray = venv / "bin" / "ray"
        ray.write_text(f"#!{venv}/bin/python\nfrom ray.scripts.scripts import main\nmain()\n")
        ray.chmod(0o755)
        wanted = b"".join(
            (REPOSITORY / name).read_bytes() for name in ("constraints.txt", "pyproject.toml")
        )
        (venv / "installed").write_text(f"{sha256(wanted).hexdigest()}  -\n")

    def environment(self) -> dict[str, str]:
        """Of a person at this machine."""
        kept = {key: os.environ[key] for key in ("LANG", "LC_ALL") if key in os.environ}
        path = f"{self.home}/.dadnet/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": path,
            "RAY_USAGE_STATS_ENABLED": "0",
            "TERM": "dumb",
        }

    def run(self, name: str, *words: str, **more: str) -> dict[str, object]:
        """Run a command from the repository's root and keep what came of it."""
        began = time.monotonic()
        done = subprocess.run(
            words,
            cwd=REPOSITORY,
            env={**self.environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=300,
        )
        found: dict[str, object] = {
            "status": done.returncode,
            "output": done.stdout,
            "seconds": time.monotonic() - began,
        }
        self.report[name] = found
        return found

    def cluster_file(self) -> Path:
        """onprem.yaml for this one machine."""
        config = yaml.safe_load((REPOSITORY / "cluster" / "onprem.yaml").read_text())
        assert config["provider"]["head_ip"] == HEAD
        config["provider"]["worker_ips"] = [WORKER] if self.report["hosts"] == 2 else []
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.root / "user")}
        path = self.root / "onprem.yaml"
        path.write_text(yaml.safe_dump(config))
        return path


def ray_processes() -> list[str]:
    """Ray's processes in this namespace."""
    # A zombie has ended; this namespace's init is to reap it.
    lines = [s for s in sh("ps", "-A", "-o", "args").splitlines() if "<defunct>" not in s]
    return [s for s in lines if "gcs_server" in s or "raylet/raylet" in s or s.startswith("ray::")]


def files_with(text: str, *folders: Path) -> list[str]:
    """Files below these folders that hold a text."""
    found = subprocess.run(
        ["grep", "-rlF", text, *map(str, folders)], capture_output=True, text=True
    )
    return found.stdout.splitlines()


def wait_for_second(host: Host) -> None:
    """Wait until the autoscaler has started the other host."""
    for _ in range(300):
        state = host.run("status", "ray", "status", RAY_AUTH_MODE="token")
        if f"/{2 * CPUS}.0 CPU" in str(state["output"]):
            return
        time.sleep(1)


def submit(host: Host, words: list[str]) -> None:
    """`ray up`, `ray submit`, `ray job submit`, `ray down`."""
    config = str(host.cluster_file())
    host.run("up", "ray", "up", "-y", config)
    script = "orchestration/run_loso.py"
    if host.report["hosts"] == 2:
        wait_for_second(host)
    # One more than a host has CPUs: it is on the other one.
    words += ["--workers", str(CPUS + 1 if host.report["hosts"] == 2 else 2)]
    host.run("submit", "ray", "submit", config, script, "--", *words, "--ledger", f"{host.root}/a")
    host.report["sessions"] = len(list(Path("/tmp/ray").glob("session_2*")))
    job = ["ray", "job", "submit", "--no-wait", "--submission-id", "loso-again", "--", *LOSO]
    job += [*words, "--ledger", f"{host.root}/b"]
    there = {"RAY_ADDRESS": "http://127.0.0.1:8265", "RAY_AUTH_MODE": "token"}
    host.run("job", *job, **there)
    host.report["folds_when_job_returned"] = len(list(host.root.glob("b/*/*/folds/*.json")))
    host.run("job_without_token", *job, **{**there, "RAY_AUTH_MODE": "disabled"})
    for _ in range(300):
        state = host.run("job_status", "ray", "job", "status", "loso-again", **there)
        if "' succeeded" in str(state["output"]) or "' failed" in str(state["output"]):
            break
        time.sleep(1)
    host.run("job_logs", "ray", "job", "logs", "loso-again", **there)
    alone = ["--ledger", str(host.home / "runs")]  # the other host has another home
    host.run("apart", *LOSO, *words, *alone, RAY_ADDRESS=f"{HEAD}:6379")
    host.report["token_in_logs"] = files_with(host.token, Path("/tmp/ray"), host.root / "a")
    host.report["token_in_ps"] = host.token in sh("ps", "-A", "-o", "args")
    host.report["before_down"] = len(ray_processes())
    host.run("down", "ray", "down", "-y", config)
    host.report["after_down"] = ray_processes()


def batch(host: Host, words: list[str]) -> None:
    """slurm.sbatch, with SLURM's commands as they are on a job of one machine."""
    commands = host.root / "slurm"
    commands.mkdir()
    stubs = {
        "scontrol": '[ "$*" = "show hostnames node1" ] && echo node1',
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "hostname": f"echo {HEAD}",
    }
    for name, text in stubs.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    job = {
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_ID": "4711",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_GPUS_ON_NODE": "0",
        "PATH": f"{commands}:{host.environment()['PATH']}",
    }
    script = str(REPOSITORY / "cluster" / "slurm.sbatch")
    host.run("slurm", "bash", script, *words, "--ledger", f"{host.root}/c", **job)
    host.report["after_slurm"] = ray_processes()


def open_head(host: Host, words: list[str]) -> None:
    """A run with the address of a Ray that answers every client."""
    off = {"RAY_AUTH_MODE": "disabled"}
    host.run("open_start", "ray", "start", "--head", "--port=6380", "--num-cpus=1", **off)
    there = {"RAY_ADDRESS": f"{HEAD}:6380"}
    host.run("open", *LOSO, *words, "--ledger", f"{host.root}/d", **there)
    there = {"RAY_ADDRESS": "127.0.0.1:6380"}  # the same one by another name
    host.run("open_by_loopback", *LOSO, *words, "--ledger", f"{host.root}/d", **there)
    host.run("open_stop", "ray", "stop", "--force")


def main() -> None:
    """Run it all and write the report, also if something breaks."""
    if sys.argv[1] == "worker":
        be_worker(Path(sys.argv[2]))
    root, words = Path(sys.argv[1]), sys.argv[2:]
    host = Host(root)
    try:
        host.prepare()
        submit(host, [*words])
        batch(host, [*words, "--workers", "2"])
        open_head(host, words)
    finally:
        (root / "report.json").write_text(json.dumps(host.report))


if __name__ == "__main__":
    main()
