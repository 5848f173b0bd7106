"""Internal storage: files by `kestra:///` URI, kept in a store under the path of the URI."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.store import FolderStore, Store, StoredFile, StoreFull

SCHEME = "kestra"
FILES = "files"
NAMESPACES = "namespaces"
"""What the keys of internal storage and of namespace files begin with."""
ALLOWED_VARIABLE = "KESTRA_DAGSTER_ALLOWED_FILES"
"""Folders of this machine whose files flows may read by `file:///...`, as in a PATH; none else."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def _slug(name: str) -> str:
    """Return a task id as Kestra writes it in paths."""
    return _UNSAFE.sub("-", name).replace("_", "-").lower()


def execution_prefix(namespace: str, flow_id: str, execution_id: str) -> str:
    """Return the path of an execution's files, as Kestra lays them out."""
    return f"/{namespace.replace('.', '/')}/{flow_id}/executions/{execution_id}"


class _Place(NamedTuple):
    """Where the file of a URI is."""

    store: Store
    key: str
    changes: bool
    """Whether it may be written anew, as files of namespaces are."""


@dataclass(slots=True)
class ExecutionStorage:
    """The files of one execution, and read access to those of the executions it came from."""

    store: Store
    prefix: str
    readable: tuple[str, ...] = ()
    namespace: str | None = None
    """The namespace behind `nsfile:///`; None where there is no flow that has one."""

    def resolve(self, uri: str) -> _Place:
        """Return where a URI leads; raise TaskMisconfigured for one that is foreign or unsafe."""
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if "\0" in path or ".." in Path(path).parts:
            raise TaskMisconfigured(f"`{uri}` is not a storage URI: it may not leave its folder")
        if parts.scheme == SCHEME and not parts.netloc:
            folder, namespace_files, name = path.partition("/_files/")
            if namespace_files and self.namespace is not None:
                return self._of_namespace(folder.lstrip("/").replace("/", "."), name)
            if not any(path.startswith(f"{prefix}/") for prefix in (self.prefix, *self.readable)):
                raise TaskMisconfigured(
                    f"cannot read `{uri}`, as it didn't belong to the current execution",
                    hint="an execution reads its own files, its parent's and its trigger's",
                )
            return _Place(self.store, f"{FILES}{_plain(path)}", changes=False)
        if parts.scheme == "nsfile" and self.namespace is not None:
            return self._of_namespace(parts.netloc, path)
        if parts.scheme == "file" and not parts.netloc:
            return self._on_this_machine(path, uri)
        raise TaskMisconfigured(
            f"`{uri}` is not a file of the internal storage",
            hint="expected `kestra:///...` (an output of a task) or `nsfile:///...`",
        )

    def allow(self, prefix: str) -> None:
        """Let the files of another execution be read here: one that this one started."""
        self.readable = (*self.readable, prefix)

    @staticmethod
    def _on_this_machine(path: str, uri: str) -> _Place:
        """Return a file of this machine, from one of the folders that flows may read."""
        names = os.environ.get(ALLOWED_VARIABLE, "").split(os.pathsep)
        target = Path(path).resolve()
        for folder in (Path(name).resolve() for name in names if name):
            if target.is_relative_to(folder):
                inside = target.relative_to(folder).as_posix()
                return _Place(FolderStore(folder), inside, changes=True)
        raise TaskMisconfigured(
            f"`{uri}` is not in a folder that flows may read",
            hint=f"name its folder in the environment variable `{ALLOWED_VARIABLE}`",
        )

    def open(self, uri: str) -> BinaryIO:
        """Open the file of a URI for reading; raise TaskFailed if it is not there."""
        place = self.resolve(uri)
        try:
            return place.store.open(place.key, changes=place.changes)
        except FileNotFoundError:
            raise _missing(uri) from None

    @contextmanager
    def local(self, uri: str) -> Iterator[Path]:
        """Give the content of a URI as a local file to read; raise TaskFailed without one."""
        place = self.resolve(uri)
        held = place.store.local(place.key, changes=place.changes)
        try:
            path = held.__enter__()
        except FileNotFoundError:
            raise _missing(uri) from None
        try:
            yield path
        finally:
            held.__exit__(None, None, None)

    def find(self, uri: str) -> StoredFile | None:
        """Return what is known of the file of a URI; None if it is not there."""
        place = self.resolve(uri)
        return place.store.stat(place.key)

    def size(self, uri: str) -> int:
        """Return the bytes of the file of a URI; raise TaskFailed if it is not there."""
        found = self.find(uri)
        if found is None:
            raise _missing(uri)
        return found.size

    def put_input(self, source: Path | bytes, input_id: str, name: str) -> str:
        """Store the file that is given for an input and return its URI."""
        return TaskStorage(self, f"{self.prefix}/inputs/{safe_name(input_id)}").put(source, name)

    def task(self, task_id: str, task_run_id: str) -> TaskStorage:
        """Return the view a task run writes through."""
        return TaskStorage(self, f"{self.prefix}/tasks/{_slug(task_id)}/{safe_name(task_run_id)}")

    def delete_all(self) -> list[str]:
        """Delete every file of this execution and return the URIs."""
        keys = self.store.delete_all(f"{FILES}{self.prefix}")
        return [f"{SCHEME}://{quote(key.removeprefix(FILES))}" for key in keys]

    def _of_namespace(self, name: str, path: str) -> _Place:
        """Return a file of a namespace, the flow's own for an empty name."""
        if name and not _NAMESPACE.fullmatch(name):
            raise TaskMisconfigured(f"`{name}` is not a namespace")
        key = f"{NAMESPACES}/{name or self.namespace}/{_plain(path).lstrip('/')}"
        return _Place(self.store, key, changes=True)


@dataclass(slots=True)
class TaskStorage:
    """Internal storage as one task run sees it (runtime/context.py `Storage`)."""

    execution: ExecutionStorage
    prefix: str
    _names: set[str] = field(default_factory=set)

    def put(self, source: Path | BinaryIO | bytes, name: str) -> str:
        name = self._fresh(safe_name(name))
        store = self.execution.store
        try:
            store.put(f"{FILES}{self.prefix}/{name}", source)
        except StoreFull as error:
            raise TaskFailed(
                f"cannot store `{name}` in `{store.place}`: {error}",
                hint="free some space or choose another folder with KESTRA_DAGSTER_STORAGE",
            ) from error
        return f"{SCHEME}://{quote(self.prefix)}/{quote(name)}"

    def open(self, uri: str) -> BinaryIO:
        return self.execution.open(uri)

    def local(self, uri: str) -> AbstractContextManager[Path]:
        return self.execution.local(uri)

    def size(self, uri: str) -> int:
        return self.execution.size(uri)

    def exists(self, uri: str) -> bool:
        return self.execution.find(uri) is not None

    def delete(self, uri: str) -> bool:
        place = self.execution.resolve(uri)
        return place.store.delete(place.key)

    def purge(self) -> list[str]:
        return self.execution.delete_all()

    def _fresh(self, name: str) -> str:
        """Number a name that this attempt already used, before its extension."""
        stem, dot, extension = name.partition(".")
        candidate, count = name, 0
        while candidate in self._names:
            count += 1
            candidate = f"{stem}-{count}{dot}{extension}"
        self._names.add(candidate)
        return candidate


def safe_name(name: str) -> str:
    """Return a file name without folders or characters that mean something to a shell or a URI."""
    name = _UNSAFE.sub("_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip()
    return name[-150:] if name.strip(".") else "file"


def _plain(path: str) -> str:
    """Return a path as a folder reads it: no empty parts, no `.`; it begins with `/`."""
    if path.startswith("/") and "//" not in path and "/." not in path and path[-1] != "/":
        return path
    return f"/{PurePosixPath(path.lstrip('/')).as_posix()}"


def _missing(uri: str) -> TaskFailed:
    return TaskFailed(f"no file at `{uri}`")
