"""A real Prometheus scrapes a real run; every query of the Grafana dashboard is put to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from orchestration.reporting.metrics import STATES
from tests.build.runs import LAST_S, run_words

MONITORING = Path(__file__).parents[3] / "cluster" / "monitoring"
DISCOVERY = "/tmp/ray/prom_metrics_service_discovery.json"
OWN = f"dadnet-{os.getuid()}/last-run/prom_metrics_service_discovery.json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(port: int, query: str) -> list[dict]:
    """The series that Prometheus has for a query now."""
    words = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{words}") as answer:
        return json.load(answer)["data"]["result"]


def wait_for(port: int, query: str, process: subprocess.Popen) -> list[dict]:
    until = time.monotonic() + LAST_S
    while time.monotonic() < until:
        with suppress(OSError):  # it may not listen yet
            if found := ask(port, query):
                return found
        assert process.poll() is None, "the run is over"
        time.sleep(0.5)
    raise AssertionError(f"nothing for {query} in {LAST_S} s")


def dashboard_queries() -> list[str]:
    panels = json.loads((MONITORING / "grafana-dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return [query.replace("$run", "loso-.*") for query in queries]


@pytest.fixture
def temp_dir():
    """A short path: Ray's sockets lie below it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian: apt-get install prometheus)",
)
def test_prometheus_has_our_series_and_answers_the_dashboard(site, tmp_path, temp_dir):
    config = (MONITORING / "prometheus.yml").read_text()
    assert DISCOVERY in config
    assert OWN.replace(str(os.getuid()), "UID") in config
    config = config.replace(DISCOVERY, f"{temp_dir}/{OWN}")
    config = config.replace("scrape_interval: 10s", "scrape_interval: 1s")
    (tmp_path / "prometheus.yml").write_text(config)
    port = free_port()
    words = run_words(site, tmp_path / "runs", "--workers", "2", "--epochs", "4000")
    with (tmp_path / "log").open("w") as log:
        started = {"stdout": log, "stderr": log, "start_new_session": True}
        run = subprocess.Popen(
            [sys.executable, "-m", "orchestration.run_loso", *words],
            env={**os.environ, "RAY_TMPDIR": str(temp_dir)},
            **started,
        )
        prometheus = subprocess.Popen(
            [
                "prometheus", f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
            ],
            **started,
        )  # fmt: skip
        try:
            epochs = wait_for(port, "ray_dadnet_epoch > 2", run)
            wait_for(port, "rate(ray_dadnet_clips_total[1m]) > 0", run)
            folds = {s["metric"]["state"]: s for s in ask(port, "ray_dadnet_folds")}
            assert set(folds) == set(STATES)
            assert sum(float(s["value"][1]) for s in folds.values()) == 5
            assert {s["metric"]["rank"] for s in epochs} <= {"0", "1"}
            ours = ask(port, '{__name__=~"ray_dadnet_.*"}')
            assert not [s for s in ours if "sub0" in json.dumps(s)]  # no subject is a label
            assert not {"WorkerId", "SessionName"} & {k for s in ours for k in s["metric"]}
            for query in dashboard_queries():
                if "gpu_memory" not in query:  # no GPU here
                    assert ask(port, query), query
        finally:
            prometheus.kill()
            prometheus.wait()
            run.send_signal(signal.SIGTERM)
            try:
                status = run.wait(LAST_S)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
    assert status == 3, (tmp_path / "log").read_text()
