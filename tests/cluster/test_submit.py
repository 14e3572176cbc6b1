"""A cluster over ssh for real: up, submit, a detached job, down; and the batch script of SLURM."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import run_loso
from results.ledger.ledger import Ledger
from tests.build.flows import make_clips, write_store
from tests.build.runs import ledger_content
from tests.cluster.inside import NAMESPACES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def why_not() -> str:
    """Why this machine cannot have a cluster of its own; empty if it can."""
    for command in ("unshare", "ip", "ssh-keygen", "rsync", "/usr/sbin/sshd"):
        if shutil.which(command) is None:
            return f"{command} is not installed"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode != 0:
        return "namespaces of its own are not allowed here"
    return ""


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    flows = write_store(tmp_path_factory.mktemp("shared") / "flows", make_clips(5, 6))
    return [
        "--flows", str(flows), "--model-type", "baseline", "--input-size", "32", "--epochs", "2",
        "--warmup-epochs", "0",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone(words, tmp_path_factory) -> dict[str, dict]:
    ledger = tmp_path_factory.mktemp("alone")
    assert run_loso.main([*words, "--workers", "0", "--ledger", str(ledger)]) == 0
    return ledger_content(ledger)


@pytest.fixture(scope="module")
def host(words, tmp_path_factory) -> tuple[Path, dict]:
    if reason := why_not():
        pytest.skip(f"no cluster over ssh: {reason}")
    root = tmp_path_factory.mktemp("host")
    inside = Path(__file__).with_name("inside.py")
    command = [*NAMESPACES, sys.executable, str(inside), str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, json.loads((root / "report.json").read_text())


def assert_done(report: dict, name: str) -> str:
    assert report[name]["status"] == 0, report[name]["output"]
    return report[name]["output"]


def test_ray_submit_runs_on_the_cluster_and_prints_the_leaderboard(host, alone):
    root, report = host
    assert_done(report, "up")
    output = assert_done(report, "submit")
    assert "5/5" in output
    assert ledger_content(root / "a") == alone
    assert report["sessions"] == 1, "the run started a Ray of its own"


def test_folds_are_made_on_both_hosts(host):
    root, report = host
    if report["hosts"] == 1:
        pytest.skip("one host, by DADNET_ONE_HOST=1")
    [experiment] = Ledger(root / "a").experiments()
    workers = {record.host["worker"] for record in Ledger(root / "a").records(experiment)}
    assert len({worker.partition("-")[0] for worker in workers}) == 2, workers


def test_a_ledger_that_another_host_does_not_see_is_refused(host):
    _, report = host
    if report["hosts"] == 1:
        pytest.skip("one host, by DADNET_ONE_HOST=1")
    assert report["apart"]["status"] == 2, report["apart"]["output"]
    error = report["apart"]["output"].splitlines()[-1]
    assert error.startswith("error: ledger: ")
    assert "10.0.0.2" in error


def test_a_submitted_job_goes_on_without_its_terminal(host, alone):
    root, report = host
    assert_done(report, "job")
    assert report["folds_when_job_returned"] < 5
    assert "5/5" in assert_done(report, "job_logs")
    assert ledger_content(root / "b") == alone


def test_without_the_token_no_job_is_taken_and_the_token_is_nowhere_to_be_read(host):
    _, report = host
    assert report["job_without_token"]["status"] != 0
    assert report["token_in_logs"] == []
    assert report["token_in_ps"] is False


def test_ray_down_leaves_nothing_behind(host):
    _, report = host
    assert_done(report, "down")
    assert report["before_down"] > 0
    assert report["after_down"] == []


def test_the_batch_script_runs_on_the_machines_of_its_job(host, alone):
    root, report = host
    assert "5/5" in assert_done(report, "slurm")
    assert ledger_content(root / "c") == alone
    assert report["after_slurm"] == []


def test_a_ray_that_answers_everybody_is_refused(host):
    root, report = host
    for name in ("open", "open_by_loopback"):
        assert report[name]["status"] == 2, report[name]["output"]
        error = report[name]["output"].splitlines()[-1]
        assert error.startswith(
            "error: Ray at 10.0.0.1:6380 answers other machines without a token"
        )
    assert not list(root.glob("d/*/*/folds/*.json"))
