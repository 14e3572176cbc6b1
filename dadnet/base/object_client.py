"""The client of object storage: opened once per bucket, asked again, its errors as ours.

The client is obstore and not `pyarrow.fs`, which cannot say "only if it is not there yet" (an HTTP
PUT with ``If-None-Match: *``): without that, two writers could both believe to be the first.
Credentials come from the environment and never stand in a URI, so no record or log can show them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from dadnet.base.errors import DadnetError, StorageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Requests are repeated for so long; longer outages end the command, which can be given again.
RETRY_ENV = "DADNET_STORAGE_RETRY_S"
RETRY_AFTER_S = 0.2
_RETRY_S, _LONGEST_RETRY_S = 120.0, 86_400.0
_T = TypeVar("_T")


def retried(request: Callable[[], _T]) -> _T:
    """Return the answer to a request that may be repeated.

    The client itself repeats most requests, but not one whose answer is cut off and is not the
    content of an object (a listing, a 404).
    """
    from obstore.exceptions import BaseError

    began = time.monotonic()
    while True:
        try:
            return request()
        except (BaseError, OSError) as error:
            if not is_cut_off(error, began):
                raise
            time.sleep(RETRY_AFTER_S)


def is_cut_off(error: Exception, began: float) -> bool:
    """Whether an answer ended too early, and there is time left to ask again."""
    return "response body" in str(error) and time.monotonic() - began < _retry_s()


def open_store(base: str, query: str) -> ObjectStore:
    """Return the client of a bucket by its URI and options; it lives as long as the process."""
    return _open(base, query, _retry_s())


def _retry_s() -> float:
    text = os.environ.get(RETRY_ENV, str(_RETRY_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_RETRY_S:
        raise DadnetError(
            f"{RETRY_ENV}: expected seconds from 0 to {_LONGEST_RETRY_S:.0f}, got {text!r}"
        )
    return seconds


@lru_cache(maxsize=16)
def _open(base: str, query: str, retry_s: float) -> ObjectStore:
    from obstore.store import S3Store, from_url

    options = dict(parse_qsl(query))
    retry: Mapping[str, Any] = {
        "max_retries": 10,
        "retry_timeout": timedelta(seconds=retry_s),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10)},
    }
    client: dict[str, Any] = {"connect_timeout": "10s", "timeout": "60s"}
    if not base.startswith("s3://"):
        return from_url(base, client_options=client, retry_config=retry)  # type: ignore[call-overload,no-any-return]
    endpoint = options.get("endpoint_override")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    if endpoint is not None and endpoint.startswith("http://"):
        client["allow_http"] = True
    region = os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION"))
    region = options.get("region", region)
    config: dict[str, Any] = {"endpoint": endpoint, "region": region or "us-east-1"}
    if options.get("anonymous") in ("1", "true", "True"):
        config["skip_signature"] = True
    config = {name: value for name, value in config.items() if value is not None}
    bucket = base.removeprefix("s3://")
    return S3Store(bucket, **config, client_options=client, retry_config=retry)  # type: ignore[arg-type]


@contextmanager
def errors_named(path: object) -> Iterator[None]:
    """Turn errors of the client into a `StorageError` of one line that names the location."""
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )

    try:
        yield
    except (FileNotFoundError, AlreadyExistsError, PreconditionError):
        raise
    except (PermissionDeniedError, UnauthenticatedError):
        raise _refused(path) from None
    except (BaseError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "403 Forbidden" in lines[0]:  # of a listing
            raise _refused(path) from None
        raise StorageError(
            f"storage: {path} cannot be reached: {lines[0][:300]}; what is finished is kept, give "
            "the same command again"
        ) from None


def _refused(path: object) -> StorageError:
    return StorageError(
        f"storage: {path} refuses the credentials of this environment (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or a role)"
    )
