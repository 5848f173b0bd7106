"""What a running task sees of its execution: rendering, log, storage, cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.runtime.cancellation import CancelToken

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow


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

    def local(self, uri: str) -> AbstractContextManager[Path]:
        """Give a stored file as a local one to read (itself where storage is a folder)."""
        ...

    def size(self, uri: str) -> int: ...
    def exists(self, uri: str) -> bool: ...
    def delete(self, uri: str) -> bool: ...

    def purge(self) -> list[str]:
        """Delete every file of this execution and return their URIs."""
        ...


ExitState = Literal["SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED"]


class OwnExecution(Protocol):
    """What a task may change of the execution it belongs to; safe among parallel tasks."""

    def add_labels(self, labels: Mapping[str, str]) -> None:
        """Set labels, over those of the same key."""
        ...

    def edit_variables(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace what later tasks see as `vars` by `change(current)`, in one step."""
        ...

    def exit(self, state: ExitState) -> None:
        """End the execution in `state` after this task; only KILLED stops running branches."""
        ...


class Warned(dict[str, Any]):
    """Outputs of a task that ends WARNING: it did its work, and a person should look at it."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One message of a task run, as stored."""

    timestamp: datetime
    level: str
    message: str
    task_id: str | None = None
    task_run_id: str | None = None
    value: str | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions or logs: None means any; dates by their start, `end` included."""

    namespace: str | None = None
    """A namespace and those below it."""
    flow_id: str | None = None
    states: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """An execution as others tell about it: what it came to so far, and the task that failed."""

    execution_id: str
    namespace: str
    flow_id: str
    state: str
    started: datetime
    ended: datetime | None = None
    last_task: str | None = None
    """The task run that began last, or the first that failed where one did."""
    failed: bool = False
    error: str | None = None


class Executions(Protocol):
    """The executions of the instance, this one and others."""

    def logs(
        self, execution_id: str, level: str = "TRACE", task_ids: Sequence[str] = ()
    ) -> Iterable[LogLine]:
        """Read the stored log at `level` and above, oldest first; TaskFailed if it is unknown."""
        ...

    def view(self, execution_id: str) -> ExecutionView:
        """Tell what an execution came to so far; TaskFailed if it is unknown."""
        ...

    def count(self, which: ExecutionFilter) -> int: ...

    def resume(self, execution_id: str, inputs: Mapping[str, Any]) -> None:
        """Resume a paused execution; TaskFailed if it is unknown or not paused."""
        ...

    def purge(self, which: ExecutionFilter, parts: frozenset[str]) -> Mapping[str, int]:
        """Delete ended executions or only `parts` of them; return counts by part.

        Parts are `executions`, `logs`, `metrics` and `storages`.
        """
        ...

    def purge_logs(self, which: ExecutionFilter, levels: Sequence[str]) -> int:
        """Delete log lines of the given levels (none given: all) and return how many."""
        ...

    def enable_trigger(
        self, namespace: str, flow_id: str, trigger_id: str, enabled: bool
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A stored value: anything JSON knows, dates and durations; None is a value too."""

    value: Any
    description: str | None = None
    expires: datetime | None = None


OWN = "~"
"""How the namespaces begin where this package keeps its own records, which no flow may touch."""


def open_to_flows(namespace: str) -> str:
    """Return a namespace that a flow may name; raise TaskMisconfigured for one of our own."""
    if namespace.startswith(OWN):
        raise TaskMisconfigured(f"`{namespace}` is not a namespace")
    return namespace


class KeyValueStore(Protocol):
    """Values by namespace and key, shared by all processes; what has expired is not there."""

    def get(self, namespace: str, key: str) -> KeyValue | None: ...

    def set(
        self,
        namespace: str,
        key: str,
        value: Any,
        *,
        ttl: timedelta | None = None,
        description: str | None = None,
        overwrite: bool = True,
    ) -> bool:
        """Store a value; with `overwrite=False` return False and change nothing if it exists."""
        ...

    def edit(self, namespace: str, key: str, change: Callable[[Any | None], Any]) -> Any:
        """Store and return `change(current value or None)`, in one step among all writers."""
        ...

    def delete(self, namespace: str, key: str) -> bool: ...

    def keys(self, namespace: str, prefix: str = "") -> list[str]: ...

    def purge(self, namespaces: Sequence[str], key_pattern: str | None, expired_only: bool) -> int:
        """Delete keys that match the glob (none: all) in namespaces that match the globs.

        Those of this package's own records are none of them.
        """
        ...


class NamespaceFiles(Protocol):
    """The files of a namespace by their path, `folder/name` without a leading slash."""

    def paths(self, namespace: str) -> list[str]: ...
    def open(self, namespace: str, path: str) -> AbstractContextManager[BinaryIO]: ...
    def put(self, namespace: str, path: str, source: Path | BinaryIO | bytes) -> None: ...
    def delete(self, namespace: str, path: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class FlowSource:
    """The text of a flow."""

    namespace: str
    flow_id: str
    text: str

    def is_in(self, namespace: str, children: bool) -> bool:
        """Say whether it is in a namespace, or in one below it; all are below the empty one."""
        below = children and self.namespace.startswith(f"{namespace}." if namespace else "")
        return self.namespace == namespace or below


@dataclass(frozen=True, slots=True)
class FlowChange:
    """What writing a flow did, or would do."""

    flow: FlowSource
    state: Literal["ADDED", "UPDATED", "UNCHANGED"]


class FlowFiles(Protocol):
    """The files of the project's flows; what is changed is used once they are loaded again."""

    def sources(self, namespace: str, *, children: bool) -> list[FlowSource]:
        """Return the flows of a namespace (and of those below it), by namespace and id."""
        ...

    def put(self, text: str, *, dry_run: bool = False) -> FlowChange:
        """Write a flow over one of its namespace and id; TaskFailed for one that is not valid."""
        ...

    def delete(self, namespace: str, flow_id: str) -> bool: ...


class TaskContext(Protocol):
    """Passed to `RunnableSpec.run`; one per attempt."""

    @property
    def log(self) -> TaskLog: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def cancel(self) -> CancelToken: ...
    @property
    def execution(self) -> OwnExecution: ...
    @property
    def executions(self) -> Executions: ...
    @property
    def kv(self) -> KeyValueStore: ...
    @property
    def namespace_files(self) -> NamespaceFiles: ...
    @property
    def flow_files(self) -> FlowFiles: ...

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables of expressions: flow, execution, task, taskrun, inputs, outputs, ..."""
        ...

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

    def encrypt(self, value: str) -> Any:
        """Return what stands for a secret in outputs; expressions read it decrypted.

        TaskFailed when no encryption key is configured.
        """
        ...

    def run_task(self, definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Validate, render and run a runnable task given as its YAML mapping, in this task run."""
        ...

    def find_flow(self, namespace: str, flow_id: str) -> Flow:
        """Return a flow that can be started; TaskMisconfigured if there is none."""
        ...

    def start_flow(
        self,
        namespace: str,
        flow_id: str,
        *,
        inputs: Mapping[str, Any],
        labels: Mapping[str, str],
        inherit_labels: bool = False,
        schedule_date: str | None = None,
    ) -> str:
        """Start an execution of a flow, wait for nothing, and return its id."""
        ...
