"""What a running task sees of its execution: rendering, log, storage, cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kestra_dagster.runtime.cancellation import CancelToken


class TaskLog(Protocol):
    """The log of a task run, by Kestra's levels; secrets are masked on the way out."""

    def trace(self, message: str) -> None: ...
    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warn(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...
    def log(self, level: str, message: str) -> None: ...


class Storage(Protocol):
    """Internal storage of an execution: files by `kestra:///` URI (also reads `nsfile:///`)."""

    def put(self, source: Path | BinaryIO | bytes, name: str) -> str:
        """Store a file under this task run and return its URI; `name` may hold no folder parts."""
        ...

    def open(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """Open a stored file for reading; raise TaskFailed for an unknown or a foreign one."""
        ...

    def local_path(self, uri: str) -> Path:
        """Return a readable local copy (the file itself where storage is a folder)."""
        ...

    def size(self, uri: str) -> int: ...
    def exists(self, uri: str) -> bool: ...
    def delete(self, uri: str) -> bool: ...


class TaskContext(Protocol):
    """Passed to `RunnableSpec.run`; one per attempt."""

    log: TaskLog
    storage: Storage
    cancel: CancelToken
    variables: Mapping[str, Any]
    """The variables of expressions: flow, execution, task, taskrun, inputs, outputs, vars, ..."""

    @property
    def working_dir(self) -> Path:
        """A folder of this task run, made on first use and removed after the last attempt."""
        ...

    def render(self, template: str, extra: Mapping[str, Any] | None = None) -> str:
        """Render a template to text with the task's variables (and `extra` on top)."""
        ...

    def render_typed(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        """Render keeping native types: a lone `{{ }}` gives its object, maps and lists go deep."""
        ...

    def metric(
        self,
        name: str,
        value: float,
        type: str = "counter",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record a metric of this task run (`counter` or `timer`, the latter in seconds)."""
        ...
