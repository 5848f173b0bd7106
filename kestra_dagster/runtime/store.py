"""Where the files of an instance are kept, by key: a folder, or a prefix of a bucket.

A key is a relative path such as `files/io/kestra/my-flow/executions/ID/tasks/...` (internal
storage) or `namespaces/io.kestra/query.sql`; whoever makes one has seen to it that it holds no
`..`. A file is written as a whole: a reader sees the old one or the new one, never half of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, Protocol

from kestra_dagster.errors import RetryableError, TaskMisconfigured

UNFINISHED = ".writing-"
"""How the names of files begin that are being written."""
_CHUNK = 1 << 20


class StoreFull(RetryableError):
    """A file could not be kept: no space, no permission."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there; `size` in bytes."""

    key: str
    size: int
    changed: datetime


class Store(Protocol):
    """Files by key. Reading what is not there raises FileNotFoundError; thread-safe.

    `changes` says that a file may be written anew under its key, as those of namespaces are; others
    may be kept nearby once they were read.
    """

    @property
    def place(self) -> str:
        """What a person calls it."""
        ...

    def put(self, key: str, source: Path | BinaryIO | bytes) -> None:
        """Write a file, over one of the same key."""
        ...

    def open(self, key: str, *, changes: bool = False) -> BinaryIO:
        """Open a file for reading, from wherever in it."""
        ...

    def local(self, key: str, *, changes: bool = False) -> AbstractContextManager[Path]:
        """Give a file's content as a local file to read, for the length of the block."""
        ...

    def stat(self, key: str) -> StoredFile | None:
        """Return what is known of a file; None if it is not there."""
        ...

    def list(self, folder: str) -> list[StoredFile]:
        """Return the files at any depth below a folder, by key."""
        ...

    def delete(self, key: str) -> bool:
        """Delete a file and say whether it was there."""
        ...

    def delete_all(self, folder: str) -> list[str]:
        """Delete all files below a folder and return their keys."""
        ...


class FolderStore:
    """Files in a folder, whose tree is the path of the keys."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root: str | None = None

    @property
    def place(self) -> str:
        return str(self._root)

    def put(self, key: str, source: Path | BinaryIO | bytes) -> None:
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, source)
        except OSError as error:
            raise StoreFull(f"{error.strerror or error}") from error

    def open(self, key: str, *, changes: bool = False) -> BinaryIO:
        return self._existing(key).open("rb")

    @contextmanager
    def local(self, key: str, *, changes: bool = False) -> Iterator[Path]:
        yield self._existing(key)

    def stat(self, key: str) -> StoredFile | None:
        path = self._path(key)
        return _stored(key, path) if path.is_file() else None

    def list(self, folder: str) -> list[StoredFile]:
        root = self._path(folder)
        return [
            _stored(f"{folder}/{path.relative_to(root).as_posix()}", path)
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.startswith(UNFINISHED)
        ]

    def delete(self, key: str) -> bool:
        path = self._path(key)
        if not path.is_file():
            return False
        path.unlink(missing_ok=True)
        return True

    def delete_all(self, folder: str) -> list[str]:
        keys = [file.key for file in self.list(folder)]
        shutil.rmtree(self._path(folder), ignore_errors=True)
        return keys

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(key)
        return path

    def _path(self, key: str) -> Path:
        root = self._real_root
        if root is None:
            root = self._real_root = os.path.realpath(self._root)
        target = os.path.realpath(f"{root}/{key}")
        if target != root and not target.startswith(f"{root.rstrip('/')}/"):
            raise TaskMisconfigured(f"`{key}` leaves its folder through a link")
        return Path(target)


def _stored(key: str, path: Path) -> StoredFile:
    stat = path.stat()
    return StoredFile(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, timezone.utc))


def write_atomically(target: Path, source: Path | BinaryIO | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if isinstance(source, bytes):
                stream.write(source)
            elif isinstance(source, Path):
                with source.open("rb") as opened:
                    shutil.copyfileobj(opened, stream, _CHUNK)
            else:
                shutil.copyfileobj(source, stream, _CHUNK)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
