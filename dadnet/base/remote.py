"""Object storage as if it were a folder: the part of pathlib's interface that is used here.

A ledger or a flow store is named by a path, or by a URI as `pyarrow.fs` reads them:
``s3://bucket/folder?endpoint_override=localhost:9000&scheme=http``, ``gs://bucket/folder``,
``abfs://container@account.dfs.core.windows.net/folder`` or ``file:///folder``.

The client is obstore and not `pyarrow.fs`, which cannot say "only if it is not there yet" (an HTTP
PUT with ``If-None-Match: *``): without that, two writers could both believe to be the first. An
object appears whole or not at all, and requests that fail with a 5xx answer are tried again.
Credentials come from the environment and never stand in a URI, so no record or log can show them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from dadnet.base.errors import DadnetError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Requests are repeated for so long; longer outages end the command, which can be given again.
RETRY_ENV = "DADNET_STORAGE_RETRY_S"
_RETRY_S = 120.0
_AGAIN_S = 0.2
_T = TypeVar("_T")


class StorageError(DadnetError):
    """Storage does not do what it is asked for; the message is one line."""


@dataclass(frozen=True)
class Entry:
    """What a listing says of an object.

    Attributes:
        name: below the folder that was listed, with slashes.
        size: bytes; etag: the storage's own mark of the content; modified: by the storage's clock.
    """

    name: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class RemotePath:
    """A name on object storage.

    Attributes:
        base: scheme and bucket, such as ``s3://bucket``.
        key: below the bucket, without a slash at either end.
        query: what else finds the storage, such as its endpoint; never a credential.
    """

    base: str
    key: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.base}/{self.key}" + (f"?{self.query}" if self.query else "")

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.base, "/".join(p for p in (self.key, str(name)) if p), self.query)

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The end of the name from the last dot on."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in."""
        return RemotePath(self.base, self.key.rpartition("/")[0], self.query)

    def with_name(self, name: str) -> RemotePath:
        """Another name in the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is such an object."""
        return self.modified() is not None

    def modified(self) -> datetime | None:
        """When the object was written, by the storage's clock; None if there is none."""
        import obstore

        try:
            with _told(self):
                found: datetime = _asked_again(lambda: obstore.head(self._store(), self.key))[
                    "last_modified"
                ]
                return found
        except FileNotFoundError:
            return None

    def size(self) -> int:
        """Bytes of the object.

        Raises:
            FileNotFoundError: if there is none.
        """
        import obstore

        with _told(self):
            return int(_asked_again(lambda: obstore.head(self._store(), self.key))["size"])

    def is_dir(self) -> bool:
        """Whether there is an object below it."""
        return next(self.entries(), None) is not None

    def read_bytes(self) -> bytes:
        """The object's content, all of it.

        Raises:
            FileNotFoundError: if there is none.
        """
        import obstore

        def read() -> tuple[bytes, int]:
            found = obstore.get(self._store(), self.key)
            return bytes(found.bytes()), int(found.meta["size"])

        with _told(self):
            data, size = _asked_again(read)
        if len(data) != size:
            raise StorageError(f"storage: {self} ended after {len(data)} of {size} bytes")
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding)

    def create(self, data: bytes) -> bool:
        """Write the object if there is none; False if there is one, which is left alone."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with _told(self):
                obstore.put(self._store(), self.key, data, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def replace_with(self, data: bytes) -> None:
        """Write the object, in place of one that is there."""
        import obstore

        with _told(self):
            obstore.put(self._store(), self.key, data)

    def upload(self, path: Path) -> None:
        """Write the object from a file, in parts if it is large; it appears whole."""
        import obstore

        with _told(self):
            obstore.put(self._store(), self.key, path)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; on object storage one that is not there is no error."""
        import obstore

        with suppress(FileNotFoundError), _told(self):  # Azure and Google tell, Amazon does not
            obstore.delete(self._store(), self.key)

    def entries(self) -> Iterator[Entry]:
        """Every object below it, in any depth and order.

        An answer that is cut off in its middle is gone on with after the last name that was read.
        """
        from obstore.exceptions import BaseError

        start, began = f"{self.key}/" if self.key else "", time.monotonic()
        last: str | None = None
        while True:
            try:
                for found in self._listed(last):
                    last = str(found["path"])
                    etag = found["e_tag"] or ""
                    name = last.removeprefix(start)
                    yield Entry(name, found["size"], etag, found["last_modified"])
                return
            except (BaseError, OSError) as error:
                if not _is_cut(error, began):
                    with _told(self):
                        raise
                time.sleep(_AGAIN_S)

    def _listed(self, after: str | None) -> Iterator[Any]:
        import obstore

        for page in obstore.list(self._store(), self.key or None, offset=after, chunk_size=1000):
            yield from page

    def remove_tree(self) -> None:
        """Remove every object below it."""
        for entry in list(self.entries()):
            (self / entry.name).unlink()

    def _store(self) -> ObjectStore:
        return _open(self.base, self.query, _retry_s())


def _retry_s() -> float:
    return float(os.environ.get(RETRY_ENV, _RETRY_S))


def _asked_again(ask: Callable[[], _T]) -> _T:
    """The answer to a question that may be asked twice; the client gives up where an answer that
    is no object's (a listing, a 404) is cut off."""
    from obstore.exceptions import BaseError

    began = time.monotonic()
    while True:
        try:
            return ask()
        except (BaseError, OSError) as error:
            if not _is_cut(error, began):
                raise
            time.sleep(_AGAIN_S)


def _is_cut(error: Exception, began: float) -> bool:
    return "response body" in str(error) and time.monotonic() - began < _retry_s()


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
    region = options.get(
        "region", os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION"))
    )
    config: dict[str, Any] = {"endpoint": endpoint, "region": region or "us-east-1"}
    if options.get("anonymous") in ("1", "true", "True"):
        config["skip_signature"] = True
    config = {name: value for name, value in config.items() if value is not None}
    bucket = base.removeprefix("s3://")
    return S3Store(bucket, **config, client_options=client, retry_config=retry)  # type: ignore[arg-type]


@contextmanager
def _told(path: RemotePath) -> Iterator[None]:
    """Errors of the client as ours: one line, without what the storage's answer repeats."""
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


def _refused(path: RemotePath) -> StorageError:
    return StorageError(
        f"storage: {path} refuses the credentials of this environment (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or a role)"
    )
