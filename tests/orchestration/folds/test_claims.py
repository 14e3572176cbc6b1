import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from orchestration.folds.claims import ClaimedQueue, Heartbeat, claims_folder
from orchestration.folds.here import LocalQueue
from orchestration.folds.queue import ELSEWHERE_S, LeaseQueue
from results.ledger.ledger import Ledger
from tests.build.listing import IRREGULAR, put_irregular
from tests.build.records import build_experiment

EXPERIMENT = build_experiment({f"sub{n:02d}": ["n>n"] for n in range(6)})
FOLDS = [fold.name for fold in EXPERIMENT.folds]
HOLD = """
import sys, time
from orchestration.folds.claims import claims_folder, Heartbeat
from results.ledger.ledger import Ledger
from tests.build.records import build_experiment
EXPERIMENT = build_experiment({f"sub{n:02d}": ["n>n"] for n in range(6)})
with Heartbeat(claims_folder(Ledger(sys.argv[1]), EXPERIMENT), beat_s=0.2) as claims:
    assert claims.take("sub00")
    print("taken", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "s3"])
def ledger(request, tmp_path) -> Ledger:
    if request.param == "folder":
        return Ledger(tmp_path / "runs")
    name = request.node.name.replace("[", "-").replace("]", "")
    return Ledger(request.getfixturevalue("s3").uri(f"claims/{name}"))


def test_each_fold_is_given_to_one_run_and_stays_its_own(ledger):
    with ExitStack() as stack:
        runs = [stack.enter_context(Heartbeat(claims_folder(ledger, EXPERIMENT))) for _ in range(3)]
        with ThreadPoolExecutor(9) as pool:
            asked = [(run, fold) for fold in FOLDS for run in runs]
            got = list(pool.map(lambda pair: pair[0].take(pair[1]), asked))
        owners = [[got[3 * n + k] for k in range(3)] for n in range(len(FOLDS))]
        assert [sum(each) for each in owners] == [1] * len(FOLDS)
        assert all(
            runs[each.index(True)].take(fold) for each, fold in zip(owners, FOLDS, strict=True)
        )
        first = runs[owners[0].index(True)]
        assert len(first.others()) == 2
    assert first.others() == ()


def test_a_run_that_ends_frees_its_folds_and_a_record_ends_the_claim(ledger):
    with Heartbeat(claims_folder(ledger, EXPERIMENT)) as claims:
        assert claims.take("sub00")
    with Heartbeat(claims_folder(ledger, EXPERIMENT)) as later:
        assert later.take("sub00")
        later.release("sub00")
        assert not any("sub00" in name for name in _claims(ledger))


def test_a_silent_run_is_taken_over_once_its_lease_is_over(tmp_path):
    ledger = Ledger(tmp_path / "runs")
    silent = Heartbeat(claims_folder(ledger, EXPERIMENT), beat_s=1000)
    with (
        silent as claims,
        Heartbeat(claims_folder(ledger, EXPERIMENT)) as one,
        Heartbeat(claims_folder(ledger, EXPERIMENT)) as two,
    ):
        assert claims.take("sub00")
        assert not one.take("sub00")
        seconds = silent._path.stat().st_mtime - one.lease_s - 5
        os.utime(silent._path, (seconds, seconds))
        assert [one.take("sub00"), two.take("sub00")] == [True, False]
        assert not claims.take("sub00")


def test_a_killed_run_of_this_machine_is_taken_over_at_once(ledger):
    command = [sys.executable, "-c", HOLD, str(ledger.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "taken\n"
        with Heartbeat(claims_folder(ledger, EXPERIMENT)) as claims:
            assert not claims.take("sub00")
            assert claims.take("sub01")
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert claims.take("sub00")
            assert claims.others() == ()


def test_a_fold_that_another_run_has_is_looked_at_again_when_no_other_waits():
    now = [0.0]
    queue = LeaseQueue(["a", "b"], clock=lambda: now[0])
    assert queue.claim("w", 0).fold == "a"
    queue.elsewhere("w", "a")
    assert queue.claim("w", 0).fold == "b"
    queue.finish("w", "b")
    assert queue.claim("w", 0) is None
    assert not queue.snapshot()["over"]
    now[0] = ELSEWHERE_S
    claim = queue.claim("w", 0)
    assert (claim.fold, claim.tries) == ("a", 1)  # no try was spent on it
    queue.finish("w", "a")
    assert queue.snapshot()["over"]
    assert queue.is_over()


def _claims(ledger: Ledger) -> list[str]:
    folder = ledger.folder(EXPERIMENT) / "claims"
    if hasattr(folder, "entries"):
        return [entry.name for entry in folder.entries()]
    return [path.name for path in folder.iterdir()]


def test_a_fold_of_another_run_is_passed_over_and_ours_is_released_when_it_is_done(ledger):
    folder = claims_folder(ledger, EXPERIMENT)
    with Heartbeat(folder) as other, Heartbeat(folder) as ours:
        assert other.take("sub00")
        leases = LocalQueue(("sub00", "sub01"))
        queue = ClaimedQueue(leases, ours)
        assert queue.take().fold == "sub01"
        assert queue.take() is None
        assert not leases.ask(LeaseQueue.is_over)  # the other run may fail
        assert not other.take("sub01")
        queue.finish("sub01")
        assert other.take("sub01")


def test_a_fold_that_diverges_is_released_too(ledger):
    with Heartbeat(claims_folder(ledger, EXPERIMENT)) as ours:
        queue = ClaimedQueue(LocalQueue(("sub00",)), ours)
        assert queue.take().fold == "sub00"
        assert _claims(ledger) != []
        queue.diverge("sub00", "diverged in epoch 1")
        assert not [name for name in _claims(ledger) if name.startswith("sub00")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", IRREGULAR)
def test_a_claim_or_a_heartbeat_that_is_no_file_is_passed_over_without_a_loop(tmp_path, kind):
    folder = claims_folder(Ledger(tmp_path / "runs"), EXPERIMENT)
    with Heartbeat(folder) as claims:
        (folder / "sub00.1.json").touch()
        put_irregular(folder / "sub00.1.json", kind)
        (folder / "sub01.1.json").write_text('{"owner": "gone-1-ab"}')
        (folder / "owners" / "gone-1-ab.json").touch()
        put_irregular(folder / "owners" / "gone-1-ab.json", kind)
        assert claims.take("sub00")
        assert claims.others() in ((), ("gone-1",))
        claims.take("sub01")  # a heartbeat that is no file ends with its lease


DAMAGED = [b"", b"\xff", b"[" * 100_000, b"null", b"[]", b'{"owner": null}', b'{"owner": 5}']
DAMAGED += [b'{"owner": "../../x"}', b'{"owner": "a\\u0000"}', b'{"owner": "%s"}' % (b"x" * 999)]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_claim_holds_nothing(tmp_path, content):
    folder = claims_folder(Ledger(tmp_path / "runs"), EXPERIMENT)
    with Heartbeat(folder) as claims:
        (folder / "sub00.1.json").write_bytes(content)
        assert claims.take("sub00")


@pytest.mark.parametrize("pid", ['"x"', "null", "-1", "1" + "0" * 400, "[]", "0"])
def test_a_heartbeat_with_an_impossible_process_ends_with_its_lease(tmp_path, pid):
    folder = claims_folder(Ledger(tmp_path / "runs"), EXPERIMENT)
    with Heartbeat(folder) as claims:
        (own,) = (folder / "owners").iterdir()
        text = own.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {pid}')
        assert pid in text
        (folder / "owners" / "there-1-ab.json").write_text(text)
        (folder / "sub00.1.json").write_text('{"owner": "there-1-ab"}')
        assert claims.take("sub00") == (pid == "0")
