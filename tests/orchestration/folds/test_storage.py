"""Runs whose ledger is on object storage, and what breaks there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dadnet.base.object_client import RETRY_ENV
from orchestration import run_loso
from results import __main__ as results_cli
from results.ledger.ledger import LedgerWarning
from tests.build.flows import make_clips, write_store
from tests.build.runs import ledger_content, storage_words
from tests.servers.s3 import BUCKET, SECRET, S3Server


@pytest.fixture(scope="module")
def flows(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("storage") / "flows", make_clips(4, 6))


@pytest.fixture(scope="module")
def undisturbed(flows, tmp_path_factory) -> dict[str, dict]:
    ledger = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert run_loso.main(storage_words(flows, ledger)) == 0
    return ledger_content(ledger)


def test_a_run_on_object_storage_is_the_run_in_a_folder(flows, undisturbed, s3, tmp_path, capsys):
    for path in flows.iterdir():
        s3.client().upload_file(str(path), BUCKET, f"same/flows/{path.name}")
    ledger = s3.uri("same/runs")
    s3.fail(
        {"method": "PUT", "kind": "500", "times": 5},
        {"method": "GET", "kind": "500", "times": 2},
        {"method": "PUT", "kind": "slow", "times": 1, "path": "/folds/"},
        {"method": "GET", "kind": "cut", "times": 1, "path": ".parquet"},
    )
    given = storage_words(s3.uri("same/flows"), ledger, "--keep-weights", "best")
    assert run_loso.main(given) == 0
    assert ledger_content(ledger) == undisturbed
    stored = s3.content("same/runs")
    kinds = {Path(name).parent.name for name in stored}
    assert {"folds", "val", "weights", "events"} <= kinds
    assert not {"checkpoints", "claims", "owners"} & kinds  # all done: nothing is left of these
    assert not any(SECRET.encode() in data for data in stored.values())
    assert run_loso.main(given) == 0  # nothing is trained again, nothing is written
    words = ["leaderboard", "--ledger", ledger, "--out", str(tmp_path / "site")]
    assert results_cli.main(words) == 0
    first = (tmp_path / "site" / "index.html").read_bytes()
    assert results_cli.main([*words, "--rebuild"]) == 0
    assert (tmp_path / "site" / "index.html").read_bytes() == first
    output = capsys.readouterr()
    assert "4 of 4 folds are in" in output.out.replace("\n", " ")
    assert SECRET not in output.out + output.err
    after = s3.content("same/runs")
    assert {n for n in after if "/events/" not in n} == {n for n in stored if "/events/" not in n}


@pytest.mark.parametrize("path", ["experiment.json", "/checkpoints/", "/folds/"])
def test_an_outage_ends_in_one_line_and_the_same_command_goes_on(
    path, flows, undisturbed, s3, monkeypatch, capsys
):
    ledger = s3.uri(f"outage/{path.strip('/')}")
    s3.fail({"method": "PUT", "kind": "500", "times": 999, "path": path})
    monkeypatch.setenv(RETRY_ENV, "0.3")
    assert run_loso.main(storage_words(flows, ledger)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: storage: s3://lab/outage/")
    assert error.count("\n") == 1
    assert not any("/folds/" in name for name in s3.content(f"outage/{path.strip('/')}"))
    s3.fail()
    assert run_loso.main(storage_words(flows, ledger)) == 0
    assert ledger_content(ledger) == undisturbed


def test_a_truncated_object_is_moved_aside_and_only_its_fold_made_again(
    flows, undisturbed, s3, capsys
):
    ledger = s3.uri("truncated")
    assert run_loso.main(storage_words(flows, ledger)) == 0
    whole = s3.content("truncated")
    records = sorted(name for name in whole if "/folds/" in name)
    for name, length in zip(records, (0, 1, len(whole[records[2]]) // 2), strict=False):
        s3.client().put_object(Bucket=BUCKET, Key=name, Body=whole[name][:length])
    with pytest.warns(LedgerWarning, match="was moved to") as warned:
        assert run_loso.main(storage_words(flows, ledger)) == 0
    assert len(warned) == 3
    assert "1 of 4 folds are in" in capsys.readouterr().out.replace("\n", " ")
    assert ledger_content(ledger) == undisturbed
    now = s3.content("truncated")
    assert now[records[3]] == whole[records[3]]
    assert sum("/quarantine/" in name for name in now) == 3


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_two_runs_at_once_share_the_folds_and_make_none_twice(
    where, flows, undisturbed, tmp_path, s3
):
    ledger = str(tmp_path / "runs") if where == "folder" else s3.uri("two")
    command = [sys.executable, "-m", "orchestration.run_loso", *storage_words(flows, ledger)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    output = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], output
    assert ledger_content(ledger) == undisturbed
    events = _events(ledger, s3)
    # A fold that was found made by the other run has no epochs.
    finished = [e["fold"] for e in events if e["event"] == "finished" and e.get("info")]
    assert sorted(finished) == sorted(undisturbed)


def _events(ledger: str, s3: S3Server) -> list[dict]:
    if "://" in ledger:
        texts = [data for name, data in s3.content("two").items() if "/events/" in name]
    else:
        texts = [path.read_bytes() for path in Path(ledger).rglob("events.jsonl")]
    return [json.loads(line) for text in texts for line in text.splitlines()]


FULL_DISK = """
mount -t tmpfs -o size=40m tmpfs {disk} || exit 77
head -c {filler} /dev/zero > {disk}/filler
{python} -m orchestration.run_loso {words} > {log} 2>&1; echo $? > {status}
find {disk} -name '*.json' -path '*folds*' > {found}
rm {disk}/filler
{python} -m orchestration.run_loso {words} >> {log} 2>&1 || exit 1
cp -r {disk}/runs {copy}
"""


@pytest.mark.parametrize("left", [4_000, 1_000_000])
def test_a_full_disk_ends_in_one_line_and_the_same_command_goes_on(
    left, flows, undisturbed, tmp_path
):
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a small disk of its own")
    names = {n: tmp_path / n for n in ("disk", "log", "status", "found", "copy")}
    names["disk"].mkdir()
    script = FULL_DISK.format(
        filler=40 * 1024**2 - left,
        python=sys.executable,
        words=" ".join(storage_words(flows, names["disk"] / "runs")),
        **names,
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=os.environ, check=False)
    if not names["status"].exists():
        pytest.skip("mounting a small disk is not allowed here")
    log = names["log"].read_text()
    assert names["status"].read_text().strip() == "2", log
    assert log.count("error: storage: No space left on device") == 1, log
    assert names["found"].read_text() == ""
    assert done.returncode == 0, log
    assert ledger_content(names["copy"]) == undisturbed


@pytest.mark.slow
def test_a_worker_group_on_object_storage_makes_the_same_records(flows, undisturbed, s3):
    ledger = s3.uri("group")
    command = [sys.executable, "-m", "orchestration.run_loso", *storage_words(flows, ledger)]
    command[command.index("--workers") + 1] = "2"
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert ledger_content(ledger) == undisturbed
    stored = s3.content("group")
    assert SECRET not in output
    assert not any(SECRET.encode() in data for data in stored.values())
