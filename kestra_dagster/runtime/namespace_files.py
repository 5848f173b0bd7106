"""The files of namespaces, in the store of an instance: `namespaces/<namespace>/<path>`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.runtime.storage import NAMESPACES
from kestra_dagster.runtime.store import Store, StoreFull


class StoredNamespaceFiles:
    """Files of namespaces in a store (runtime/context.py `NamespaceFiles`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def paths(self, namespace: str) -> list[str]:
        """Return the paths of a namespace's files, sorted."""
        folder = f"{NAMESPACES}/{_inside(namespace)}"
        return sorted(file.key.removeprefix(f"{folder}/") for file in self._store.list(folder))

    def open(self, namespace: str, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; raise TaskFailed if it is not there."""
        try:
            return self._store.open(_key(namespace, path), changes=True)
        except FileNotFoundError:
            raise TaskFailed(f"no file `{path}` in the namespace `{namespace}`") from None

    def put(self, namespace: str, path: str, source: Path | BinaryIO | bytes) -> None:
        """Write a file, over one of the same path."""
        try:
            self._store.put(_key(namespace, path), source)
        except StoreFull as error:
            raise TaskFailed(
                f"cannot write `{path}` of the namespace `{namespace}`: {error}"
            ) from error

    def delete(self, namespace: str, path: str) -> bool:
        """Delete a file and say whether it was there."""
        return self._store.delete(_key(namespace, path))


def _key(namespace: str, path: str) -> str:
    return f"{NAMESPACES}/{_inside(namespace)}/{_inside(path)}"


def _inside(path: str) -> str:
    """Return a path as it is written in keys; raise TaskMisconfigured if it would lead outside."""
    plain = PurePosixPath(path.lstrip("/"))
    if ".." in plain.parts or "\0" in path or not plain.parts:
        raise TaskMisconfigured(f"the file `{path}` would not be inside its folder")
    return plain.as_posix()
