"""The files of namespaces, in folders: `<root>/<namespace>/<path>`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.globs import files_below
from kestra_dagster.runtime.storage import UNFINISHED, write_atomically
from kestra_dagster.runtime.working_files import inside


class FolderNamespaceFiles:
    """Files of namespaces below one folder (runtime/context.py `NamespaceFiles`)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def paths(self, namespace: str) -> list[str]:
        """Return the paths of a namespace's files, sorted."""
        folder = self._folder(namespace)
        found = files_below(folder) if folder.is_dir() else []
        return [path for path in found if not path.rpartition("/")[2].startswith(UNFINISHED)]

    def open(self, namespace: str, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading; raise TaskFailed if it is not there."""
        file = inside(self._folder(namespace), path)
        if not file.is_file():
            raise TaskFailed(f"no file `{path}` in the namespace `{namespace}`")
        return file.open("rb")

    def put(self, namespace: str, path: str, source: Path | BinaryIO | bytes) -> None:
        """Write a file, over one of the same path."""
        file = inside(self._folder(namespace), path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, source)
        except OSError as error:
            raise TaskFailed(
                f"cannot write `{path}` of the namespace `{namespace}`: {error.strerror or error}"
            ) from error

    def delete(self, namespace: str, path: str) -> bool:
        """Delete a file and say whether it was there."""
        file = inside(self._folder(namespace), path)
        existed = file.is_file()
        file.unlink(missing_ok=True)
        return existed

    def _folder(self, namespace: str) -> Path:
        return inside(self._root, namespace)
