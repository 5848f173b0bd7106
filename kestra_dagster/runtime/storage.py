"""Internal storage: files by `kestra:///` URI, in a folder whose tree is the path of the URI."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from kestra_dagster.errors import TaskFailed, TaskMisconfigured

SCHEME = "kestra"
ALLOWED_VARIABLE = "KESTRA_DAGSTER_ALLOWED_FILES"
"""Folders of this machine whose files flows may read by `file:///...`, as in a PATH; none else."""
UNFINISHED = ".writing-"
"""How the names of files begin that are being written."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def _slug(name: str) -> str:
    """Return a task id as Kestra writes it in paths."""
    return _UNSAFE.sub("-", name).replace("_", "-").lower()


def execution_prefix(namespace: str, flow_id: str, execution_id: str) -> str:
    """Return the path of an execution's files, as Kestra lays them out."""
    return f"/{namespace.replace('.', '/')}/{flow_id}/executions/{execution_id}"


@dataclass(slots=True)
class ExecutionStorage:
    """The files of one execution, and read access to those of the executions it came from."""

    root: Path
    prefix: str
    readable: tuple[str, ...] = ()
    namespace_root: Path | None = None
    """The folder behind `nsfile:///`; None where the flow's namespace has none."""

    def resolve(self, uri: str) -> Path:
        """Return the file of a URI; raise TaskFailed for a foreign, unsafe or malformed one."""
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if "\0" in path or ".." in Path(path).parts:
            raise TaskMisconfigured(f"`{uri}` is not a storage URI: it may not leave its folder")
        if parts.scheme == SCHEME and not parts.netloc:
            folder, namespace_files, name = path.partition("/_files/")
            if namespace_files and self.namespace_root is not None:
                return self._inside(
                    self._namespace(folder.lstrip("/").replace("/", ".")), name, uri
                )
            if not any(path.startswith(f"{prefix}/") for prefix in (self.prefix, *self.readable)):
                raise TaskMisconfigured(
                    f"cannot read `{uri}`, as it didn't belong to the current execution",
                    hint="an execution reads its own files, its parent's and its trigger's",
                )
            return self._inside(self.root, path, uri)
        if parts.scheme == "nsfile" and self.namespace_root is not None:
            return self._inside(self._namespace(parts.netloc), path, uri)
        if parts.scheme == "file" and not parts.netloc:
            return self._local(path, uri)
        raise TaskMisconfigured(
            f"`{uri}` is not a file of the internal storage",
            hint="expected `kestra:///...` (an output of a task) or `nsfile:///...`",
        )

    def allow(self, prefix: str) -> None:
        """Let the files of another execution be read here: one that this one started."""
        self.readable = (*self.readable, prefix)

    @staticmethod
    def _local(path: str, uri: str) -> Path:
        """Return a file of this machine, from one of the folders that flows may read."""
        names = os.environ.get(ALLOWED_VARIABLE, "").split(os.pathsep)
        allowed = [Path(name) for name in names if name]
        target = Path(path).resolve()
        if any(target.is_relative_to(folder.resolve()) for folder in allowed):
            return target
        raise TaskMisconfigured(
            f"`{uri}` is not in a folder that flows may read",
            hint=f"name its folder in the environment variable `{ALLOWED_VARIABLE}`",
        )

    def existing(self, uri: str) -> Path:
        """Return the file of a URI; raise TaskFailed if it is not there."""
        path = self.resolve(uri)
        if not path.is_file():
            raise TaskFailed(f"no file at `{uri}`")
        return path

    def put_input(self, source: Path | bytes, input_id: str, name: str) -> str:
        """Store the file that is given for an input and return its URI."""
        return TaskStorage(self, f"{self.prefix}/inputs/{safe_name(input_id)}").put(source, name)

    def task(self, task_id: str, task_run_id: str) -> TaskStorage:
        """Return the view a task run writes through."""
        return TaskStorage(self, f"{self.prefix}/tasks/{_slug(task_id)}/{safe_name(task_run_id)}")

    def delete_all(self) -> list[str]:
        """Delete every file of this execution and return the URIs."""
        folder = self.root / self.prefix.lstrip("/")
        uris = [
            f"{SCHEME}:///{quote(str(path.relative_to(self.root)))}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        shutil.rmtree(folder, ignore_errors=True)
        return uris

    def _namespace(self, name: str) -> Path:
        """Return the folder of a namespace's files, the flow's own for an empty name."""
        assert self.namespace_root is not None
        if name and not _NAMESPACE.fullmatch(name):
            raise TaskMisconfigured(f"`{name}` is not a namespace")
        return self.namespace_root.parent / name if name else self.namespace_root

    @staticmethod
    def _inside(root: Path, path: str, uri: str) -> Path:
        target = (root / path.lstrip("/")).resolve()
        if not target.is_relative_to(root.resolve()):
            raise TaskMisconfigured(f"`{uri}` leaves its folder through a link")
        return target


@dataclass(slots=True)
class TaskStorage:
    """Internal storage as one task run sees it (runtime/context.py `Storage`)."""

    execution: ExecutionStorage
    prefix: str
    _names: set[str] = field(default_factory=set)

    def put(self, source: Path | BinaryIO | bytes, name: str) -> str:
        name = self._fresh(safe_name(name))
        target = self.execution.root / self.prefix.lstrip("/") / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, source)
        except OSError as error:
            raise TaskFailed(
                f"cannot store `{name}` in `{self.execution.root}`: {error.strerror or error}",
                hint="free some space or choose another folder with KESTRA_DAGSTER_STORAGE",
            ) from error
        return f"{SCHEME}://{quote(self.prefix)}/{quote(name)}"

    @contextmanager
    def open(self, uri: str) -> Iterator[BinaryIO]:
        with self.execution.existing(uri).open("rb") as stream:
            yield stream

    def local_path(self, uri: str) -> Path:
        return self.execution.existing(uri)

    def size(self, uri: str) -> int:
        return self.execution.existing(uri).stat().st_size

    def exists(self, uri: str) -> bool:
        return self.execution.resolve(uri).is_file()

    def delete(self, uri: str) -> bool:
        path = self.execution.resolve(uri)
        existed = path.is_file()
        path.unlink(missing_ok=True)
        return existed

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


def write_atomically(target: Path, source: Path | BinaryIO | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if isinstance(source, bytes):
                stream.write(source)
            elif isinstance(source, Path):
                with source.open("rb") as opened:
                    shutil.copyfileobj(opened, stream, 1 << 20)
            else:
                shutil.copyfileobj(source, stream, 1 << 20)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
