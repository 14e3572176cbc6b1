"""A run to disturb, and what its ledger must satisfy afterwards."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dadnet.base.digests import canonical_json
from results.ledger.ledger import Ledger
from results.ledger.records import comparable

SUBJECTS, CLIPS_EACH, SIZE, EPOCHS, WORKERS = 6, 6, 32, 40, 2
LAST_S = 600.0  # a command that takes longer hangs
ENDS = (0, 2, 3)


def free_port() -> int:
    """A free port of loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class NotHeldError(AssertionError):
    """A condition of a round did not hold."""


class SkippedError(RuntimeError):
    """The round is not possible on this machine."""


def check(holds: bool, what: str) -> None:
    """Raise `NotHeldError` unless it holds."""
    if not holds:
        raise NotHeldError(what)


@dataclass
class Round:
    """One ledger and the commands on it.

    Attributes:
        inputs: folder of flows and teacher.
        folder: of this round.
        draw: of its random points.
        number: of this round among those of its fault.
        checkpoint_every: epochs between two states.
        stack: folds that train as one program.
        lenient: damage was done to states and logs: folds may be trained again.
        env: more variables for the commands.
        ledger: where the folds are: a folder, or a URI.
        files: whole files below it, by name; the default reads the folder.
        damaged: folds whose records the round has damaged.
        found: the ledger's content, for a round whose storage is gone afterwards.
        search: words of `tune`, for a round whose command is a search.
        is_compared: the round itself compares what it made with the undisturbed.
        notes: for the report.
    """

    inputs: Path
    folder: Path
    draw: random.Random
    number: int = 0
    checkpoint_every: int = 2
    stack: int = 1
    lenient: bool = False
    env: dict[str, str] = field(default_factory=dict)
    ledger: Path | str = ""
    files: Callable[[], Mapping[str, bytes]] | None = None
    damaged: set[str] = field(default_factory=set)
    found: dict[str, str] | None = None
    search: str = ""
    is_compared: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = self.folder / "runs"

    def content_of(self, folder: str) -> list[bytes]:
        """The files in one of the ledger's folders."""
        if self.files is None:
            return [path.read_bytes() for path in Path(self.ledger).rglob(f"{folder}/*")]
        return [data for name, data in self.files().items() if f"/{folder}/" in name]

    def words(self, workers: int | None) -> list[str]:
        """The command."""
        words = (
            f"--flows {self.inputs}/flows --ledger {self.ledger} --input-size {SIZE} "
            f"--epochs {EPOCHS} --checkpoint-every {self.checkpoint_every} "
            f"--macro-weights {self.inputs}/teacher.safetensors --num-projections 8 "
            f"--stack {self.stack} {self.search}"
        )
        if workers is not None:
            words += f" --workers {workers}"
        module = "tune" if self.search else "run_loso"
        return [sys.executable, "-m", f"orchestration.{module}", *words.split()]

    @contextmanager
    def command(self, workers: int | None = WORKERS) -> Iterator[subprocess.Popen[bytes]]:
        """The run's command, in a process group that is killed afterwards."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self.words(workers),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "RAY_AUTH_MODE": "disabled", **self.env},
            )
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def finish(self, workers: int = WORKERS) -> None:
        """Run the command and wait until it succeeds."""
        with self.command(workers) as process:
            self.wait(process)

    def wait(self, process: subprocess.Popen[bytes], *statuses: int) -> int:
        """Wait for the end of a command; return its status, which must be one of these, or 0."""
        try:
            found = process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            raise NotHeldError(f"still running after {LAST_S:g} s: {self.tail()}") from None
        allowed = statuses or (0,)
        check(found in allowed, f"expected status {allowed}, got {found}: {self.tail()}")
        return found

    def until(self, condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
        """Wait until a condition has a value; return the value."""
        end = time.monotonic() + LAST_S
        while not (found := condition()):
            check(process.poll() is None, f"ended too early: {self.tail()}")
            check(time.monotonic() < end, f"waited in vain: {self.tail()}")
            time.sleep(0.02)
        return found

    def log(self) -> str:
        """Output of the commands."""
        return (self.folder / "log").read_text(errors="replace")

    def tail(self) -> str:
        """The end of it."""
        return self.log()[-2000:]

    def events(self) -> list[dict[str, Any]]:
        """Whole lines of the event log."""
        if self.files is None:
            texts = [path.read_bytes() for path in Path(self.ledger).rglob("events.jsonl")]
        else:
            texts = self.content_of("events")
        found = [x for text in texts for x in text[: text.rfind(b"\n") + 1].splitlines()]
        return [json.loads(line) for line in found]

    def running(self) -> dict[str, str]:
        """The worker of each fold in progress, by the event log."""
        found: dict[str, str] = {}
        for event in self.events():
            if event["event"] == "started":
                found[event["fold"]] = event["worker"]
            elif "fold" in event:
                found.pop(event["fold"], None)
        return found

    def random_worker(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Process id of a worker and its fold, at a random point of the run."""
        self.until(self.running, process)
        time.sleep(self.draw.uniform(0, 6))
        fold, worker = self.draw.choice(sorted(self.until(self.running, process).items()))
        return int(worker.split("-")[1]), fold

    def flip_bit(self, pattern: str) -> Path | None:
        """Change one bit of a random file of the ledger; None if there is none."""
        files = sorted(p for p in Path(self.ledger).rglob(pattern) if p.is_file())
        if not (files := [p for p in files if p.stat().st_size]):
            return None
        path = self.draw.choice(files)
        data = bytearray(path.read_bytes())
        data[self.draw.randrange(len(data))] ^= 1 << self.draw.randrange(8)
        path.write_bytes(bytes(data))
        return path

    def content(self) -> dict[str, str]:
        """What must be equal in two ledgers, by fold."""
        ledger = Ledger(self.ledger)
        [experiment] = ledger.experiments()
        return {r.fold: canonical_json(comparable(r)) for r in ledger.records(experiment)}

    def check_against(self, undisturbed: dict[str, str]) -> None:
        """Check what must hold of a ledger after any fault."""
        if self.is_compared:
            return
        found = self.content() if self.found is None else self.found
        check(found == undisturbed, "the ledger differs from the undisturbed one")
        if self.lenient:
            return
        events = self.events()
        finished = Counter(
            e["fold"]
            for e in events
            # A fold without epochs was found made by a worker that had not trained it.
            if e["event"] == "finished" and e.get("info") and e["fold"] not in self.damaged
        )
        # A driver that is killed may not have logged a record that its workers wrote.
        check(max(finished.values(), default=0) <= 1, f"finished more than once: {finished}")
        vain = [e for e in events if "finished by another worker" in str(e.get("message"))]
        check(not vain, f"trained twice to the end: {vain}")
        aside = len(self.content_of("quarantine"))
        check(aside == len(self.damaged), f"{aside} records moved aside, not {self.damaged}")
        lost = ("returned", "yielded", "failed")
        self.notes["retries"] = sum(e["event"] in lost for e in events)


def run(this: Round, words: Sequence[str], *, last_s: float = 120, **options: Any) -> int:
    """Run a command; its status must be one of three, and its output no traceback."""
    with (this.folder / "log").open("ab") as log:
        begun = log.tell()
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
        env = {**os.environ, **streams.pop("env", {})}
        try:
            status = subprocess.run(
                words, check=False, timeout=last_s, env=env, **streams
            ).returncode
        except subprocess.TimeoutExpired:
            check(False, f"still running after {last_s:g} s: {words}")
    said = (this.folder / "log").read_bytes()[begun:].decode(errors="replace")
    check(status in ENDS, f"status {status} of {words}: {said[-1500:]}")
    check("Traceback (most recent call last)" not in said, f"a traceback: {said[-1500:]}")
    this.notes["statuses"] = [*this.notes.get("statuses", []), status]
    return status
