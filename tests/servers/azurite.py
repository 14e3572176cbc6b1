"""Azurite, Microsoft's own emulator of its object storage, for the tests; from npm."""

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

# Known to everybody: the emulator's own.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "lab"


def command() -> str | None:
    """Where it is installed: on the path, or where `.ci/run` puts it."""
    here = Path(__file__).parents[2] / ".ci" / "node_modules" / ".bin"
    return shutil.which("azurite-blob", path=f"{here}{os.pathsep}{os.environ.get('PATH', '')}")


@contextmanager
def azurite(log: Path) -> Iterator[dict[str, str]]:
    """A running emulator with an empty container; the environment that finds it."""
    found = command()
    assert found is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = f"--blobHost 127.0.0.1 --blobPort {port} --inMemoryPersistence --skipApiVersionCheck"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [found, *words.split(), "--disableTelemetry"], stdout=stream, stderr=stream
        )
        try:
            _make_container(port, log)
            url = f"http://127.0.0.1:{port}"
            yield {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}
        finally:
            process.kill()
            process.wait()


def _make_container(port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while "successfully listens" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
    date = datetime.now(timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    version = "2021-08-06"
    signed = (
        "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n"
        f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    )
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{ACCOUNT}/{CONTAINER}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
            "Content-Length": "0",
        },
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
