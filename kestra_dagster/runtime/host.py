"""The host of expressions: what `secret()`, `read()`, `kv()` and the like reach."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kestra_dagster.errors import TaskFailed
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import OWN
from kestra_dagster.runtime.secrets import Masker, environment_secret

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.context import KeyValueStore
    from kestra_dagster.runtime.execution import Execution
    from kestra_dagster.runtime.platform import Platform
    from kestra_dagster.runtime.records import TaskRun
    from kestra_dagster.runtime.storage import ExecutionStorage

MOST_TEXT = 16 * 1024 * 1024
"""The largest file that `read()` turns into text."""


@cache
def server_zone() -> tzinfo:
    """Return the zone of this machine by its name, so that dates of other seasons come out right.

    TZ names it, else the link /etc/localtime; where neither does, it is today's offset.
    """
    from zoneinfo import ZoneInfo

    named = os.environ.get("TZ", "").lstrip(":")
    link = os.path.realpath("/etc/localtime")
    for name in (named, link.partition("/zoneinfo/")[2]):
        try:
            if name:
                return ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            continue
    today = datetime.now().astimezone()
    return ZoneInfo("UTC") if not today.utcoffset() else today.tzinfo or timezone.utc


class OutsideExecution(ExpressionError):
    """A function needs what is there only when an execution runs or starts."""

    def __init__(self, function: str) -> None:
        super().__init__(f"`{function}` works only inside an execution")


class BareHost:
    """A host without an execution: secrets and the clock, nothing else."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker

    @property
    def time_zone(self) -> tzinfo:
        return server_zone()

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def secret(self, key: str, namespace: str | None) -> str:
        value = environment_secret(key)
        self._masker.add(value)
        return value

    def mask(self, value: str) -> None:
        self._masker.add(value)

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        raise OutsideExecution("kv()")

    def read(self, path: str, namespace: str | None, revision: int | None) -> str | bytes:
        raise OutsideExecution("read()")

    def file_uri(self, path: str, namespace: str | None, revision: int | None) -> str:
        raise OutsideExecution("fileURI()")

    def file_size(self, path: str, namespace: str | None) -> int:
        raise OutsideExecution("fileSize()")

    def file_exists(self, path: str, namespace: str | None) -> bool:
        raise OutsideExecution("fileExists()")

    def is_file_empty(self, path: str, namespace: str | None) -> bool:
        raise OutsideExecution("isFileEmpty()")

    def error_logs(self) -> Sequence[Mapping[str, Any]]:
        raise OutsideExecution("errorLogs()")

    def http(self, request: Mapping[str, Any]) -> Any:
        raise OutsideExecution("http()")


class FlowHost(BareHost):
    """The host of the expressions of a flow where its platform is: those of its inputs too."""

    def __init__(
        self,
        flow: Flow,
        platform: Platform,
        storage: ExecutionStorage,
        masker: Masker,
        cancel: CancelToken | None = None,
    ) -> None:
        super().__init__(masker)
        self._namespace = flow.namespace
        self._platform = platform
        self._storage = storage
        self._cancel = cancel or CancelToken()

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        return look_up(self._platform.kv, key, namespace, self._namespace, error_on_missing)

    def read(self, path: str, namespace: str | None, revision: int | None) -> str | bytes:
        _no_revision(revision)
        with self._storage.open(_uri(path, namespace)) as file:
            data = file.read(MOST_TEXT + 1)
        if len(data) > MOST_TEXT:
            raise TaskFailed(
                f"`{path}` is too large for `read()` ({self.file_size(path, namespace)} bytes)",
                hint="let a task work on the file",
            )
        return data.decode("utf-8", "replace")

    def file_uri(self, path: str, namespace: str | None, revision: int | None) -> str:
        _no_revision(revision)
        space = namespace or self._namespace
        return f"kestra:///{space.replace('.', '/')}/_files/{quote(path.lstrip('/'))}"

    def file_size(self, path: str, namespace: str | None) -> int:
        return self._storage.size(_uri(path, namespace))

    def file_exists(self, path: str, namespace: str | None) -> bool:
        return self._storage.find(_uri(path, namespace)) is not None

    def is_file_empty(self, path: str, namespace: str | None) -> bool:
        return self.file_size(path, namespace) == 0

    def http(self, request: Mapping[str, Any]) -> Any:
        from kestra_dagster.runtime.http_call import http_call

        return http_call(request, self._platform.types, self._cancel)


class ExecutionHost(FlowHost):
    """The host of the expressions of one execution, or of one of its task runs."""

    def __init__(
        self,
        execution: Execution,
        run: TaskRun | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        super().__init__(
            execution.flow,
            execution.platform,
            execution.storage,
            execution.masker,
            cancel or execution.cancel,
        )
        self._execution = execution
        self._run = run

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


def look_up(
    store: KeyValueStore, key: str, namespace: str | None, own: str, error_on_missing: bool
) -> Any:
    """Return the value of a key: of a namespace, else of a flow's own and those around it."""
    space = namespace or own
    if space.startswith(OWN):
        raise ExpressionError(f"`{space}` is not a namespace")
    found = store.get(space, key)
    above = "" if namespace else space.rpartition(".")[0]
    while found is None and above:
        found, above = store.get(above, key), above.rpartition(".")[0]
    if found is None and error_on_missing:
        raise ExpressionError(
            f"the key `{key}` does not exist in the namespace `{space}`",
            hint="set it with a `core.kv.Set` task, or pass `errorOnMissing=false`",
        )
    return found.value if found is not None else None


def _uri(path: str, namespace: str | None) -> str:
    if "://" in path:
        return path
    return f"nsfile://{namespace or ''}/{quote(path.lstrip('/'))}"


def _no_revision(revision: int | None) -> None:
    if revision is not None:
        raise ExpressionError(
            "namespace files have no revisions here", hint="leave `revision` away"
        )
