"""The rounds of `benchmarks.faults` whose storage fails: an S3 server with faults, a full disk.

The server is that of the tests (moto's, see `tests.servers.s3_server`). A run may go through a
fault, or give up with one line and status 2; what it must not do is count a record that is not
whole.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote

from benchmarks.disturbed import Round, SkippedError, check
from dadnet.base.object_client import RETRY_ENV
from tests.servers.s3 import BUCKET, CREDENTIALS, S3Server

PLACES = ("", "/folds/", "/checkpoints/", "/claims/", "experiment.json")
PREFIX = "runs"
DISK_BYTES = 40 * 1024**2
FULL_DISK = """
mount -t tmpfs -o size={size} tmpfs {disk} || exit 77
head -c {filler} /dev/zero > {disk}/filler
{command} >> {log} 2>&1; echo $? > {status}
rm {disk}/filler
{command} >> {log} 2>&1 || exit 1
cp -r {disk}/runs {ledger}
"""


@contextmanager
def on_s3(this: Round, retry_s: float) -> Iterator[S3Server]:
    """A server for the round's ledger; its commands retry for so many seconds."""
    with patch.dict(os.environ, CREDENTIALS):
        server = S3Server.start(this.folder / "s3.log")
        try:
            server.client().create_bucket(Bucket=BUCKET)
            this.ledger = server.uri(PREFIX)
            this.env = {RETRY_ENV: str(retry_s)}
            this.files = lambda: server.content(PREFIX)
            yield server
            server.fail()
            kept = server.content(PREFIX)
            this.files = lambda: kept
            this.found = this.content()  # while the server is there
        finally:
            server.stop()


def outage(this: Round) -> None:
    """From a random point on the endpoint answers 500 to every request of a kind."""
    with on_s3(this, retry_s=2) as server:
        with this.command(workers=0) as process:
            time.sleep(this.draw.uniform(1, 20))
            this.notes["method"] = method = this.draw.choice(["GET", "PUT"])
            server.fail({"method": method, "kind": "500", "times": 10**6})
            this.notes["status"] = status = this.wait(process, 0, 2)
        errors = [line for line in this.log().splitlines() if line.startswith("error:")]
        check(len(errors) == (status == 2), f"not one clear line: {this.tail()}")
        check("Traceback" not in this.log(), f"a traceback: {this.tail()}")
        server.fail()
        this.finish(workers=0)


def stutter(this: Round) -> None:
    """During the whole run random requests fail, are slow, or are cut off in their middle."""
    with on_s3(this, retry_s=60) as server, this.command(workers=0) as process:
        over = threading.Event()

        def fail() -> None:
            while not over.wait(this.draw.uniform(0.1, 1)):
                kind = this.draw.choice(["500", "slow", "cut"])
                method = "GET" if kind == "cut" else this.draw.choice(["GET", "PUT"])
                times, place = this.draw.randint(1, 3), this.draw.choice(PLACES)
                server.fail({"method": method, "kind": kind, "times": times, "path": place})
                this.notes["faults"] = this.notes.get("faults", 0) + 1

        failing = threading.Thread(target=fail, daemon=True)
        failing.start()
        try:
            this.wait(process)
        finally:
            over.set()
            failing.join()


def slow(this: Round) -> None:
    """Each of many requests takes a second longer."""
    with on_s3(this, retry_s=60) as server:
        server.fail(
            {"method": "PUT", "kind": "slow", "times": this.draw.randint(10, 40)},
            {"method": "GET", "kind": "slow", "times": this.draw.randint(5, 20)},
        )
        this.finish(workers=0)


def truncated(this: Round) -> None:
    """The run is killed, and some of what it has written is cut off."""
    with on_s3(this, retry_s=60) as server:
        with this.command(workers=0) as process:
            this.until(lambda: this.content_of("folds"), process)
            time.sleep(this.draw.uniform(0, 4))
        whole = {
            name: data
            for name, data in server.content(PREFIX).items()
            if "/folds/" in name or "/checkpoints/" in name
        }
        cut = this.draw.sample(sorted(whole), min(3, len(whole)))
        if not any("/folds/" in name for name in cut):
            cut.append(next(name for name in sorted(whole) if "/folds/" in name))
        for name in cut:
            length = this.draw.randrange(len(whole[name]))
            server.client().put_object(Bucket=BUCKET, Key=name, Body=whole[name][:length])
        this.damaged = {unquote(Path(name).stem) for name in cut if "/folds/" in name}
        this.notes["cut"] = [name.split("/", 2)[2] for name in cut]
        this.finish(workers=0)
        said = " ".join(this.log().split()).count("was moved to")
        check(said >= len(this.damaged), f"nothing is said of it: {this.tail()}")


def full_disk(this: Round) -> None:
    """A small disk of the round's own runs full; then there is room again."""
    if shutil.which("unshare") is None:
        raise SkippedError("needs unshare, for a small disk of its own")
    disk, status, target = this.folder / "disk", this.folder / "status", this.ledger
    disk.mkdir()
    left = int(10 ** this.draw.uniform(3.5, 6.5))
    this.ledger = disk / "runs"
    script = FULL_DISK.format(
        size=DISK_BYTES,
        disk=disk,
        filler=DISK_BYTES - left,
        command=" ".join(f"'{word}'" for word in this.words(workers=0)),
        log=this.folder / "log",
        status=status,
        ledger=target,
    )
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, check=False)
    if not status.exists():
        raise SkippedError("mounting a small disk is not allowed here")
    this.ledger = target
    first = int(status.read_text())
    this.notes |= {"bytes_left": left, "status": first}
    lines = this.log().count("error: storage: No space left on device")
    check(first in (0, 2) and lines == (first == 2), f"not one clear line: {this.tail()}")
    check(done.returncode == 0, f"does not go on: {this.tail()}")


KINDS = (outage, stutter, truncated, full_disk, slow)


def fail_storage(this: Round) -> None:
    """Storage fails: an outage, errors, truncated objects, a full disk, slow storage, in turn."""
    kind = KINDS[this.number % len(KINDS)]
    this.notes["kind"] = kind.__name__
    kind(this)
