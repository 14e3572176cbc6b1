"""The rounds of `benchmarks.faults` on one process: signals, outputs, limits, damaged files.

Each is drawn at random; afterwards the same command must end with 0 and the undisturbed ledger.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.disturbed import ENDS, LAST_S, Round, SkippedError, check, run

# What a run reads again, by folder; a file of an ingest and the records are apart.
STATES = ("checkpoints", "val", "features", "claims", "events.jsonl")
ODD = ("broken link", "FIFO", "folder", "endless device", "empty file")


def send_signals(this: Round) -> None:
    """One to three signals that end a process, at any time from the imports on."""
    this.stack = this.draw.choice((1, 4))
    number = this.draw.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT))
    with this.command(0) as process:
        this.until(lambda: is_caught(process.pid, number), process)  # before that it is Python's
        time.sleep(this.draw.uniform(0, 12))
        for _ in range(this.draw.randint(1, 3)):
            with suppress(ProcessLookupError):
                process.send_signal(number)
            time.sleep(this.draw.uniform(0, 0.3))
        status = this.wait(process, *ENDS)
    check(status in (0, 3), f"expected 0 or 3 after {number.name}, got {status}: {this.tail()}")
    check("Traceback (most recent" not in this.log(), this.tail())
    this.notes |= {"signal": number.name, "status": status}
    this.finish(0)


def is_caught(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def kill_here(this: Round) -> None:
    """SIGKILL of a run in one process, folds alone or in stacks; every second round flips a bit."""
    this.stack = 1 + 3 * (this.number % 2)
    this.checkpoint_every = 1
    with this.command(0) as process:
        if this.draw.random() < 0.75:
            this.until(this.running, process)
            time.sleep(this.draw.uniform(0, 6))
        else:
            time.sleep(this.draw.uniform(0.5, 5))
        process.kill()
    if this.number // 2 % 2:
        path = this.flip_bit("checkpoints/*")
        this.lenient = path is not None
        this.notes["bit_flipped_in"] = path and path.name
    this.finish(0)


def lose_output(this: Round) -> None:
    """Nobody reads the output: closed streams, a reader that goes, a full device."""
    kind = ("closed stdout", "closed stderr", "both closed", "reader gone", "full")[this.number % 5]
    shell = {
        "closed stdout": '"$@" >&-',
        "closed stderr": '"$@" 2>&-',
        "both closed": '"$@" >&- 2>&-',
        "reader gone": 'set -o pipefail; "$@" | head -n 1',
        "full": '"$@" > /dev/full',
    }[kind]
    status = run(this, ["bash", "-c", shell, "-", *this.words(0)])
    check(status == 0 or kind == "full", f"{kind}: expected a run that goes on, got {status}")
    check(len(this.content()) == 6, f"{kind}: the run has not gone on")
    this.notes["output"] = kind
    this.finish(0)


# What a command is put into, where the machine lets us make namespaces.
READ_ONLY_HOME = 'mount --bind "$HOME" "$HOME" && mount -o remount,ro,bind "$HOME" && exec "$@"'
TWO_PORTS = (
    'ip link set lo up && echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
)


def change_environment(this: Round) -> None:
    """No home or a read-only one, a bad folder for temporary files, no locale, no free port."""
    deep, home = this.folder / ("long" * 20) / ("long" * 20), this.folder / "home"
    deep.mkdir(parents=True)
    home.mkdir()
    kinds: list[tuple[str, dict[str, str], list[str]]] = [
        ("no HOME", {"HOME": "/nowhere"}, []),
        ("long TMPDIR", {"TMPDIR": str(deep)}, []),
        ("no locale", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, []),
        ("odd terminal", {"COLUMNS": "0", "TERM": "none"}, []),
        ("read-only HOME", {"HOME": str(home)}, ["-m", "bash", "-c", READ_ONLY_HOME, "-"]),
        ("two free ports", {}, ["-n", "bash", "-c", TWO_PORTS, "-"]),
    ]
    name, env, inside = kinds[this.number % len(kinds)]
    if inside:
        if subprocess.run(["unshare", "-mn", "true"], check=False).returncode:
            raise SkippedError("no namespaces may be made here")
        inside = ["unshare", *inside]
    # In turn: without Ray, and with it.
    workers = this.number // len(kinds) % 2
    status = run(this, [*inside, *this.words(workers)], env=env, last_s=LAST_S)
    this.notes |= {"environment": name, "workers": workers, "status": status}
    if status != 0:  # Ray needs more than two ports: a line says so
        check(name == "two free ports" and workers == 1 and status == 3, f"{name}: {this.tail()}")
        this.finish(0)


def interrupted(this: Round) -> None:
    """A run that is stopped by SIGTERM after at least one fold, so that it leaves state."""
    this.checkpoint_every = 1
    with this.command(0) as process:
        this.until(lambda: list(Path(this.ledger).rglob("folds/*.json")), process)
        time.sleep(this.draw.uniform(0.2, 1.5))
        process.terminate()
        this.wait(process, 0, 3)


def flip_bits(this: Round) -> None:
    """One bit of a file that is read again, of each kind in turn."""
    interrupted(this)
    kinds = (*STATES, "folds")
    kind = kinds[this.number % len(kinds)]
    path = this.flip_bit(f"{kind}/*" if "." not in kind else kind)
    this.notes |= {"kind": kind, "file": path and path.name}
    if path is not None and kind == "folds":
        this.damaged.add(path.name)
    this.lenient = True  # a damaged log or checkpoint may be moved aside, a fold be trained again
    this.finish(0)


def put_odd_files(this: Round) -> None:
    """A name of the ledger is no regular file; without it the same command ends well."""
    interrupted(this)
    kinds = (*STATES, "folds", "experiment.json")
    kind, odd = this.draw.choice(kinds), ODD[this.number % len(ODD)]
    found = Path(this.ledger).rglob(f"{kind}/*" if "." not in kind else kind)
    files = sorted(p for p in found if p.is_file())
    this.notes |= {"kind": kind, "odd": odd, "files": len(files)}
    if files:
        path = this.draw.choice(files)
        path.unlink()
        put_odd(path, odd)
        if run(this, this.words(0)) != 0:  # refused: the user removes it
            with suppress(FileNotFoundError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    this.lenient = True
    this.finish(0)


def put_odd(path: Path, odd: str) -> None:
    """Put something at a path that is no regular file with content."""
    if odd == "broken link":
        path.symlink_to("nowhere")
    elif odd == "endless device":
        path.symlink_to("/dev/zero")
    elif odd == "FIFO":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    else:
        path.touch()


def set_limits(this: Round) -> None:
    """The process may use little memory, write small files, or open few."""
    kind, limit = [
        ("memory", (resource.RLIMIT_AS, this.draw.randrange(600, 2500) * 2**20)),
        ("file size", (resource.RLIMIT_FSIZE, this.draw.randrange(1, 200) * 2**10)),
        ("files", (resource.RLIMIT_NOFILE, this.draw.randrange(20, 60))),
    ][this.number % 3]
    number, amount = limit
    shell = {resource.RLIMIT_AS: "v", resource.RLIMIT_FSIZE: "f", resource.RLIMIT_NOFILE: "n"}
    amount //= 1 if kind == "files" else 1024
    words = ["bash", "-c", f'ulimit -{shell[number]} {amount}; "$@"', "-", *this.words(0)]
    this.notes |= {"limit": kind, "amount": amount}
    with (this.folder / "limited").open("wb") as log:  # the log itself is limited too
        status = subprocess.run(words, stdout=log, stderr=log, timeout=120, check=False).returncode
    said = (this.folder / "limited").read_text(errors="replace")
    # OpenBLAS ends its process without Python's knowledge where it has no memory at its start.
    held = status in ENDS or "OpenBLAS error" in said
    check(
        held and "Traceback" not in said, f"status {status} under the limit {kind}: {said[-1500:]}"
    )
    this.notes["status"] = status
    this.lenient = True
    this.finish(0)


def read_damage(this: Round) -> None:
    """Every reading command on a damaged ledger: no traceback, and nothing is changed."""
    this.finish(0)
    files = sorted(p for p in Path(this.ledger).rglob("*") if p.is_file() and p.stat().st_size)
    path = this.draw.choice(files)
    data, odd = path.read_bytes(), this.draw.choice((None, *ODD))
    if odd is None:
        place = this.draw.randrange(len(data))
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << this.draw.randrange(8)]) + data[place + 1 :]
        )
    else:
        path.unlink()
        put_odd(path, odd)
    this.notes |= {"file": path.name, "odd": odd or "bit"}
    before = listing(Path(this.ledger))
    digest = next(Path(this.ledger).rglob("experiment.json")).parent.name
    ledger, out = ["--ledger", str(this.ledger)], ["--out", str(this.folder / "site")]
    for words in (
        ["leaderboard", *ledger, *out],
        ["run", digest, *ledger, *out],
        ["compare", digest, digest, *ledger, *out],
        ["predictions", "--experiment", digest, *ledger],
        ["pack", *ledger, "--out", str(this.folder / "mine.zip")],
        ["leaklab", "--repeats", "2", *ledger, *out],
    ):
        run(this, [sys.executable, "-m", "results", *words])
    run(this, [sys.executable, "-m", "orchestration.reporting.watch", *ledger, "--once"])
    check(listing(Path(this.ledger)) == before, "a reading command has changed the ledger")
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
    path.write_bytes(data)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of everything below a folder."""
    found = [(path, path.lstat()) for path in sorted(folder.rglob("*"))]
    return [(str(path), about.st_size, about.st_mtime_ns) for path, about in found]


BAD_FLAGS: tuple[Sequence[str], ...] = (
    ["--epochs", "0"], ["--epochs", "9" * 400], ["--epochs", "nan"], ["--lr", "-1"],
    ["--lr", "inf"], ["--input-size", "1000000"], ["--batch-size", "0"], ["--stack", "-1"],
    ["--workers", "-3"], ["--flows", "/nowhere"], ["--flows", "/dev/zero"],
    ["--macro-weights", "/dev/zero"], ["--macro-weights", "/nowhere"], ["--ledger", "/dev/null/x"],
    ["--dataset", "../../x"], ["--class-set", "/dev/zero"], ["--class-set", "nothing"],
    ["--alignment-stages", "9"], ["--alignment-stages", "1,1"], ["--preset", "none"],
    ["--model", "/nowhere.py:net"], ["--model", "x"], ["--protocol", "x"], ["--seed", "1e400"],
    ["--num-projections", "0"], ["--alignment-weight", "nan"], ["--unknown", "1"],
)  # fmt: skip


def give_bad_flags(this: Round) -> None:
    """Flags that cannot be used, after others that can: one line, status 2, nothing written."""
    for flags in this.draw.sample(BAD_FLAGS, 6):
        status = run(this, [*this.words(0), *flags])
        check(status == 2, f"{flags}: expected 2, got {status}: {this.tail()}")
        check(not Path(this.ledger).exists(), f"{flags}: a ledger was begun")
    this.notes["flags"] = 6
    this.finish(0)


def damage_bundles(this: Round) -> None:
    """Random bytes of a bundle are changed, lost or doubled; nothing false is accepted."""
    this.finish(0)
    bundle, results = this.folder / "mine.zip", [sys.executable, "-m", "results"]
    run(this, [*results, "pack", "--ledger", str(this.ledger), "--out", str(bundle)])
    data = bundle.read_bytes()
    for _ in range(6):
        bundle.write_bytes(damaged(data, this.draw))
        status = run(this, [*results, "merge", str(bundle), "--ledger", str(this.folder / "other")])
        if status == 0:  # some bytes of a zip file say nothing
            merged = Round(this.inputs, this.folder, this.draw)
            merged.ledger = this.folder / "other"
            check(merged.content() == this.content(), "a changed bundle was merged")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One random damage of some bytes."""
    place = draw.randrange(len(data))
    return draw.choice(
        (
            data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :],
            data[:place],
            data[:place] + data[place + draw.randrange(1, 200) :],
            data[:place] + draw.randbytes(50) + data[place:],
        )
    )


SMALL_FAULTS: dict[str, Callable[[Round], None]] = {
    "kill": kill_here,
    "signals": send_signals,
    "output": lose_output,
    "environment": change_environment,
    "bits": flip_bits,
    "odd": put_odd_files,
    "limits": set_limits,
    "readers": read_damage,
    "flags": give_bad_flags,
    "bundles": damage_bundles,
}
