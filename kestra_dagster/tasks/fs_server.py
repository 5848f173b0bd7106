"""File servers as one kind of thing: what SFTP, FTP and SMB give to the tasks of `fs`."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from kestra_dagster.errors import TaskFailed, TaskMisconfigured


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder of a server; `path` begins with a slash, at the root that flows see."""

    path: str
    is_folder: bool
    size: int | None = None
    modified: datetime | None = None
    is_link: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What only some servers tell: `userId`, `groupId`, `permissions`, `flags`, `accessDate`."""

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def version(self) -> str:
        """Tell this content of the file from a later one."""
        return f"{self.size}@{self.modified and self.modified.isoformat()}"

    def described(self) -> dict[str, Any]:
        """Return what tasks tell of it."""
        return {
            "path": self.path,
            "name": self.name,
            "fileType": "FOLDER" if self.is_folder else "FILE",
            "symbolicLink": self.is_link,
            "size": self.size,
            "updatedDate": self.modified.isoformat() if self.modified else None,
            **self.facts,
        }


class FileServer(ABC):
    """An open connection; paths begin with a slash. Errors are OSError, or TaskFailed."""

    @abstractmethod
    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield what is in a folder, in any order."""

    @abstractmethod
    def entry(self, path: str) -> Entry | None:
        """Return what is at a path; None if nothing is."""

    @abstractmethod
    def read(self, path: str, target: BinaryIO) -> None: ...

    @abstractmethod
    def write(self, source: BinaryIO, path: str) -> None:
        """Write a file, over one that is there; its folder exists."""

    @abstractmethod
    def rename(self, path: str, to: str) -> None:
        """Move a file or a folder; nothing is at `to`."""

    @abstractmethod
    def remove(self, entry: Entry) -> None:
        """Delete a file or an empty folder."""

    @abstractmethod
    def make_folder(self, path: str) -> None: ...


def clean(path: str) -> str:
    """Return a path from the root, however it is written; `..` does not lead above the root."""
    if "\0" in path or "\n" in path or "\r" in path:
        raise TaskMisconfigured(f"{path!r} is not a path")
    return posixpath.normpath("/" + path.lstrip("/"))


def files_of(
    server: FileServer, folder: str, recursive: bool, check: Callable[[], None]
) -> Iterator[Entry]:
    """Yield the files of a folder by name, those of its folders after them.

    A path of a file yields that file, one where nothing is yields nothing.
    """
    start = server.entry(folder)
    if start is None:
        return
    if not start.is_folder:
        yield start
        return
    pending = [folder]
    while pending:
        check()
        found = sorted(server.entries(pending.pop()), key=lambda entry: entry.path)
        yield from (entry for entry in found if not entry.is_folder)
        if recursive:
            # A link to a folder may lead back up.
            below = [entry.path for entry in found if entry.is_folder and not entry.is_link]
            pending += reversed(below)


def with_folder(server: FileServer, folder: str) -> None:
    """Make a folder, and those above it, where they are missing."""
    missing: list[str] = []
    while folder != "/" and server.entry(folder) is None:
        missing.append(folder)
        folder = posixpath.dirname(folder)
    for each in reversed(missing):
        server.make_folder(each)


def target_path(server: FileServer, to: str, name: str) -> str:
    """Return where a file of a name goes: `to` may be a folder, by its last slash or in fact."""
    path = clean(to)
    if not to.endswith("/"):
        there = server.entry(path)
        if there is None or not there.is_folder:
            return path
    return posixpath.join(path, name)


def move(server: FileServer, path: str, to: str, overwrite: bool) -> str:
    """Move a file or a folder and return where it is now."""
    source = clean(path)
    if server.entry(source) is None:
        raise TaskFailed(f"there is no file `{source}`")
    target = target_path(server, to, posixpath.basename(source))
    if target == source:
        return target
    there = server.entry(target)
    if there is not None:
        if not overwrite:
            raise TaskFailed(
                f"there is a file `{target}` already", hint="set `overwrite: true` to replace it"
            )
        server.remove(there)
    with_folder(server, posixpath.dirname(target))
    server.rename(source, target)
    return target
