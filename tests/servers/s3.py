"""The S3 server of `tests.servers.s3_server` as the tests use it."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.s3_server import ACCESS_KEY

SECRET = "a-secret-that-must-not-be-seen"
BUCKET = "lab"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


@dataclass
class S3Server:
    """A running server.

    Attributes:
        process: of its own; port: on loopback.
    """

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls, log: Path) -> "S3Server":
        """Start one, with an empty bucket."""
        root = Path(__file__).parents[2]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.s3_server"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=root,
                env={**os.environ, "PYTHONPATH": str(root)},
            )
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    def client(self):
        """The vendor's own client: a second opinion on what lies there."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
        )

    def uri(self, folder: str) -> str:
        """As a user gives it."""
        return f"s3://{BUCKET}/{folder}?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def content(self, folder: str) -> dict[str, bytes]:
        """All objects below a folder, by name."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=folder)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        found = {}
        for key in keys:
            with suppress(client.exceptions.NoSuchKey):  # removed since it was listed
                found[key] = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return found

    def fail(self, *faults: dict[str, object]) -> None:
        """Let requests fail from now on, see `tests.servers.s3_server`; without faults, none."""
        url = f"http://127.0.0.1:{self.port}/__faults__"
        request = urllib.request.Request(url, data=json.dumps(faults).encode(), method="POST")
        with urllib.request.urlopen(request):
            pass

    def stop(self) -> None:
        """By its own process id."""
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
