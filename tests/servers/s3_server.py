"""An S3 server for the tests: moto's, in a process of its own, with faults on demand.

It speaks the whole protocol over HTTP. Requests are served one at a time, so that a conditional
put is atomic as on S3; without the right access key they are refused. `POST /__faults__` with
``{"method": "PUT", "kind": "500", "times": 3}`` makes the next requests of that kind fail:
``500`` answers so, ``slow`` waits, ``cut`` ends the answer in its middle.
"""

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

ACCESS_KEY = "LOSOTESTACCESSKEY"
SLOW_S = 1.0


class Faulty:
    """The application behind a lock, with faults."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._faults: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/__faults__":
            size = int(environ.get("CONTENT_LENGTH") or 0)
            self._faults = json.loads(environ["wsgi.input"].read(size))
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        if f"Credential={ACCESS_KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        kind = self._fault_of(environ)
        if kind == "500":
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if kind == "slow":
            time.sleep(SLOW_S)
        with self._lock:
            answer = b"".join(self._app(environ, start_response))
        return _half(answer) if kind == "cut" else [answer]

    def _fault_of(self, environ: dict[str, Any]) -> str:
        for fault in self._faults:
            fits = fault["method"] == environ["REQUEST_METHOD"]
            if fits and fault["times"] > 0 and fault.get("path", "") in environ["PATH_INFO"]:
                fault["times"] -= 1
                return str(fault["kind"])
        return ""


def _half(answer: bytes) -> Iterator[bytes]:
    yield answer[: len(answer) // 2]
    raise ConnectionAbortedError("a fault that a test asked for")


if __name__ == "__main__":
    server = make_server(
        "127.0.0.1", 0, Faulty(), threaded=True, request_handler=MotoRequestHandler
    )
    print(server.server_port, flush=True)
    sys.stdout.close()
    server.serve_forever()
