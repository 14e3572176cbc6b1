"""Claims: several runs on one ledger divide the folds among them, and repeat none.

    <experiment>/claims/<fold>.<n>.json        the run that makes the fold; the highest n counts
                        owners/<owner>.json    heartbeat of a run, written again and again

A claim is a file that is written once and never changed. It counts as long as the heartbeat of its
run is fresh; after that another run takes the fold by writing the next number, which only one run
can do. Claims are removed only when the fold's record is written, and a run that gets a claim looks
for the record before it starts. Ages are measured by the storage's clock: a run is regarded as dead
when its heartbeat is much older than ours, which was written by the same clock.

The records do not depend on any of this: they are written once. If a run is cut off from the
storage for longer than the lease, its work may be repeated by another run.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from dadnet.base.errors import StorageError
from dadnet.base.location import Location, replace_file, stored
from orchestration.folds.queue import Claim
from orchestration.folds.worker_queue import FoldQueue
from orchestration.reporting.events import is_alive
from results.ledger.ledger import Ledger, bytes_of, file_name, write_once
from results.ledger.records import Experiment

BEAT_S = 5.0
LEASE_S = 60.0
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_OWNER = re.compile(r"[\w.%~-]{1,255}", re.ASCII)  # as `Heartbeat` names itself


@dataclass(frozen=True)
class Claims:
    """The claims of one run on the folds of one experiment; workers get a copy.

    Attributes:
        folder: of the experiment's claims.
        owner: this run's name.
        lease_s: a run without a heartbeat for so long is regarded as dead.
    """

    folder: Location
    owner: str
    lease_s: float = LEASE_S

    def take(self, fold: str) -> bool:
        """Claim a fold; False if another live run has it. Our own claim stays ours."""
        tried = 0
        while True:
            number, holder = self._last(fold)
            if holder == self.owner:
                return True
            if holder is not None and not self._is_gone(holder):
                return False
            claim = json.dumps({"owner": self.owner}) + "\n"
            tried = max(number, tried) + 1  # a name that is taken and is no claim is passed over
            if write_once(self.folder / f"{file_name(fold)}.{tried}.json", claim):
                return True  # else another run was quicker, or our own first try had succeeded

    def release(self, fold: str) -> None:
        """Remove the claims on a fold whose record is written."""
        for number in self._numbers(fold):
            (self.folder / f"{file_name(fold)}.{number}.json").unlink(missing_ok=True)

    def others(self) -> tuple[str, ...]:
        """The other live runs, as machine and process, for a message."""
        owners = (name.removesuffix(".json") for name in stored(self.folder / "owners").names())
        alive = [owner for owner in owners if owner != self.owner and not self._is_gone(owner)]
        return tuple(sorted(owner.rpartition("-")[0] for owner in alive))

    def _last(self, fold: str) -> tuple[int, str | None]:
        """The highest number of a fold's claims, and the run that wrote it."""
        number = max(self._numbers(fold), default=0)
        holder = _fields_of(self.folder / f"{file_name(fold)}.{number}.json") if number else None
        if holder is None:  # none, or removed since: its record is there
            return number, None
        return number, holder.owner

    def _numbers(self, fold: str) -> list[int]:
        start = f"{file_name(fold)}."
        names = stored(self.folder).names()
        ends = (name[len(start) :] for name in names if name.startswith(start))
        numbers = (end.removesuffix(".json") for end in ends)
        return [int(number) for number in numbers if _NUMBER.fullmatch(number)]

    def _is_gone(self, owner: str) -> bool:
        if not _OWNER.fullmatch(owner):
            return True
        path = self.folder / "owners" / f"{owner}.json"
        theirs, process = stored(path).modified(), _fields_of(path)
        if theirs is None or process is None or _died_here(process):
            return True
        ours = stored(self.folder / "owners" / f"{self.owner}.json").modified()
        return ours is not None and (ours - theirs).total_seconds() > self.lease_s


def claims_folder(ledger: Ledger, experiment: Experiment) -> Location:
    """The folder of the claims on an experiment's folds."""
    return ledger.folder(experiment) / "claims"


class Heartbeat:
    """A run's claims while it is alive: ``with Heartbeat(claims_folder(...)) as claims``.

    It is written every `beat_s` seconds; the lease is that of `Claims`.
    """

    def __init__(self, folder: Location, beat_s: float = BEAT_S, lease_s: float = LEASE_S) -> None:
        owner = f"{file_name(socket.gethostname())}-{os.getpid()}-{secrets.token_hex(6)}"
        self._claims = Claims(folder, owner, lease_s)
        self._path = self._claims.folder / "owners" / f"{owner}.json"
        self._over = threading.Event()
        self._beat_s = beat_s
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Claims:
        self._write()
        self._thread.start()
        return self._claims

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)  # its claims are free with it

    def _write(self) -> None:
        replace_file(self._path, json.dumps({"pid": os.getpid(), **_machine()}) + "\n")

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            try:
                self._write()
            except (StorageError, OSError):  # if it lasts, other runs take the folds
                continue


def _machine() -> dict[str, str]:
    """What identifies this machine's processes; empty where it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "processes": str(Path("/proc/self/ns/pid").readlink())}
    except OSError:
        return {}


class _Fields(msgspec.Struct):
    """What a claim or a heartbeat says; any other content is as good as none."""

    owner: str = ""
    pid: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0
    boot: str = ""
    processes: str = ""


def _died_here(process: _Fields) -> bool:
    """Whether it is a process of this machine that has ended; then its lease need not end first."""
    here = _machine()
    same = bool(here) and {name: getattr(process, name) for name in here} == here
    return same and not is_alive(process.pid)


def _fields_of(path: Location) -> _Fields | None:
    """The fields of a claim or heartbeat; None if there is none."""
    try:
        data = bytes_of(path)
        return None if data is None else msgspec.json.decode(data, type=_Fields)
    except StorageError:
        raise
    except (ValueError, RecursionError):  # damaged, or no file
        return _Fields()


class ClaimedQueue:
    """A run's queue whose folds are claimed in the ledger when they are taken.

    A fold that another run has claimed is reported to the queue.
    """

    def __init__(self, queue: FoldQueue, claims: Claims) -> None:
        self._queue, self._claims = queue, claims
        self.elsewhere, self.inform = queue.elsewhere, queue.inform
        self.put_back = queue.put_back

    def take(self) -> Claim | None:
        """As of `FoldQueue`."""
        while (claim := self._queue.take()) is not None and not self._claims.take(claim.fold):
            self._queue.elsewhere(claim.fold)
        return claim

    def finish(self, fold: str) -> None:
        """As of `FoldQueue`."""
        self._claims.release(fold)
        self._queue.finish(fold)

    def diverge(self, fold: str, why: str) -> None:
        """As of `FoldQueue`."""
        self._claims.release(fold)
        self._queue.diverge(fold, why)
