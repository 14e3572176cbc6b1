"""Object storage as if it were a folder: the part of pathlib's interface that is used here.

A ledger or a flow store is named by a path, or by a URI as `pyarrow.fs` reads them:
``s3://bucket/folder?endpoint_override=localhost:9000&scheme=http``, ``gs://bucket/folder``,
``abfs://container@account.dfs.core.windows.net/folder`` or ``file:///folder``.

An object appears whole or not at all. Requests that fail with a 5xx answer are repeated.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dadnet.base.errors import StorageError
from dadnet.base.object_client import RETRY_AFTER_S, errors_named, is_cut_off, open_store, retried

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REQUESTS = 16  # at once, where each takes tens of milliseconds


@dataclass(frozen=True)
class Entry:
    """An object in a listing.

    Attributes:
        name: below the folder that was listed, with slashes.
        size: number of bytes.
        etag: the storage's own version of the content.
        modified: time of writing, by the storage's clock.
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
        query: further options of the storage, such as its endpoint; never a credential.
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
        """The end of the name, from its last dot."""
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
        try:
            with errors_named(self):
                head = retried(lambda: self._store().head(self.key))
                return head["last_modified"]
        except FileNotFoundError:
            return None

    def size(self) -> int:
        """Bytes of the object.

        Raises:
            FileNotFoundError: if there is none.
        """
        with errors_named(self):
            return int(retried(lambda: self._store().head(self.key))["size"])

    def is_dir(self) -> bool:
        """Whether there is an object below it."""
        return next(self.entries(), None) is not None

    def read_bytes(self) -> bytes:
        """The object's content, all of it.

        Raises:
            FileNotFoundError: if there is none.
        """

        def read() -> tuple[bytes, int]:
            answer = self._store().get(self.key)
            return bytes(answer.bytes()), int(answer.meta["size"])

        with errors_named(self):
            data, size = retried(read)
        if len(data) != size:
            raise StorageError(f"storage: {self} ended after {len(data)} of {size} bytes")
        return data

    def read(self) -> bytes | None:
        """The object's content; None if there is none."""
        try:
            return self.read_bytes()
        except FileNotFoundError:
            return None

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding)

    def write_once(self, data: bytes) -> bool:
        """Write the object if there is none; False if there is one, which is left alone."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with errors_named(self):
                self._store().put(self.key, data, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def overwrite(self, data: bytes) -> None:
        """Write the object, in place of one that is there."""
        with errors_named(self):
            self._store().put(self.key, data)

    def upload(self, path: Path) -> None:
        """Write the object from a file, in parts if it is large; it appears whole."""
        with errors_named(self):
            self._store().put(self.key, path)

    def read_each(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the content of these objects of the folder; None for one that is not there.

        One listing finds those that are there, then many are read at once.
        """
        listed = set(self.names())

        def read(name: str) -> bytes | None:
            with suppress(FileNotFoundError):
                return (self / name).read_bytes() if name in listed else None
            return None

        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from pool.map(read, names)

    @contextmanager
    def local_copy(self) -> Iterator[Path]:
        """Yield a copy on this machine, which is removed afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.name
            copy.write_bytes(self.read_bytes())
            yield copy

    def set_aside(self, target: RemotePath, content: bytes | None = None) -> bool:
        """Move the object to another name, unless another process has changed it."""
        moved = self.read() if content is None else content
        if moved is None:  # another process was quicker
            return False
        target.overwrite(moved)
        # Between this look and the removal another process may mend it: then that fold is made
        # again.
        with suppress(FileNotFoundError):
            if self.read_bytes() == moved:
                self.unlink()
                return True
        return False

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; on object storage one that is not there is no error."""
        # Azure and Google report a missing object, Amazon does not.
        with suppress(FileNotFoundError), errors_named(self):
            self._store().delete(self.key)

    def entries(self) -> Iterator[Entry]:
        """Every object below it, in any depth and order.

        If an answer is cut off, the listing is continued after the last name that was read.
        """
        from obstore.exceptions import BaseError

        start, began = f"{self.key}/" if self.key else "", time.monotonic()
        last: str | None = None
        while True:
            try:
                pages = self._store().list(self.key or None, offset=last, chunk_size=1000)
                for found in chain.from_iterable(pages):
                    last = str(found["path"])
                    etag = found["e_tag"] or ""
                    name = last.removeprefix(start)
                    yield Entry(name, found["size"], etag, found["last_modified"])
                return
            except (BaseError, OSError) as error:
                if not is_cut_off(error, began):
                    with errors_named(self):
                        raise
                time.sleep(RETRY_AFTER_S)

    def names(self) -> list[str]:
        """Names of the objects directly in the folder."""
        return [entry.name for entry in self.entries() if "/" not in entry.name]

    def folders(self, depth: int = 1) -> list[str]:
        """Names of the folders at a depth below this one, with slashes, sorted by their parts."""
        parts = (entry.name.split("/") for entry in self.entries())
        return ["/".join(p) for p in sorted({tuple(p[:depth]) for p in parts if len(p) > depth})]

    def remove_tree(self) -> None:
        """Remove every object below it."""
        for entry in list(self.entries()):
            (self / entry.name).unlink()

    def _store(self) -> ObjectStore:
        return open_store(self.base, self.query)
