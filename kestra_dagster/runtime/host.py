"""The host of expressions: what `secret()`, `read()`, `kv()` and the like reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.runtime.secrets import Masker, environment_secret

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution
    from kestra_dagster.runtime.records import TaskRun

MOST_TEXT = 16 * 1024 * 1024
"""The largest file that `read()` turns into text."""


class BareHost:
    """A host without an execution: secrets and the clock, nothing else."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker

    @property
    def time_zone(self) -> tzinfo:
        return datetime.now().astimezone().tzinfo or timezone.utc

    def now(self) -> datetime:
        return datetime.now().astimezone()

    def secret(self, key: str, namespace: str | None) -> str:
        value = environment_secret(key)
        self._masker.add(value)
        return value

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        raise ExpressionError(_outside("kv()"))

    def read(self, path: str, namespace: str | None, revision: int | None) -> str | bytes:
        raise ExpressionError(_outside("read()"))

    def file_uri(self, path: str, namespace: str | None, revision: int | None) -> str:
        raise ExpressionError(_outside("fileURI()"))

    def file_size(self, path: str, namespace: str | None) -> int:
        raise ExpressionError(_outside("fileSize()"))

    def file_exists(self, path: str, namespace: str | None) -> bool:
        raise ExpressionError(_outside("fileExists()"))

    def is_file_empty(self, path: str, namespace: str | None) -> bool:
        raise ExpressionError(_outside("isFileEmpty()"))

    def error_logs(self) -> Sequence[Mapping[str, Any]]:
        raise ExpressionError(_outside("errorLogs()"))

    def http(self, request: Mapping[str, Any]) -> Any:
        raise ExpressionError(
            "`http()` is not supported yet", hint="use a `core.http.Request` task before"
        )


def _outside(name: str) -> str:
    return f"`{name}` works only inside an execution"


class ExecutionHost(BareHost):
    """The host of the expressions of one execution, or of one of its task runs."""

    def __init__(self, execution: Execution, run: TaskRun | None = None) -> None:
        super().__init__(execution.masker)
        self._execution = execution
        self._run = run

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        space = namespace or self._execution.flow.namespace
        found = self._execution.platform.kv.get(space, key)
        if found is None and error_on_missing:
            raise ExpressionError(
                f"the key `{key}` does not exist in the namespace `{space}`",
                hint="set it with a `core.kv.Set` task, or pass `errorOnMissing=false`",
            )
        return found.value if found is not None else None

    def read(self, path: str, namespace: str | None, revision: int | None) -> str | bytes:
        file = self._file(path, namespace)
        if file.stat().st_size > MOST_TEXT:
            raise TaskFailed(
                f"`{path}` is too large for `read()` ({file.stat().st_size} bytes)",
                hint="let a task work on the file",
            )
        return file.read_bytes().decode("utf-8", "replace")

    def file_uri(self, path: str, namespace: str | None, revision: int | None) -> str:
        return f"nsfile:///{path.lstrip('/')}"

    def file_size(self, path: str, namespace: str | None) -> int:
        return self._file(path, namespace).stat().st_size

    def file_exists(self, path: str, namespace: str | None) -> bool:
        return self._execution.storage.resolve(self._uri(path)).is_file()

    def is_file_empty(self, path: str, namespace: str | None) -> bool:
        return self.file_size(path, namespace) == 0

    def error_logs(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "taskId": line.task_id,
                "taskRunId": line.task_run_id,
                "level": line.level,
                "timestamp": line.timestamp.isoformat(),
                "message": line.message,
                "attemptNumber": line.attempt,
            }
            for line in self._execution.error_logs()
        ]

    def _file(self, path: str, namespace: str | None) -> Path:
        return self._execution.storage.existing(self._uri(path))

    @staticmethod
    def _uri(path: str) -> str:
        return path if "://" in path else f"nsfile:///{path.lstrip('/')}"
