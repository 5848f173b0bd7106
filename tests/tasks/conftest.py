"""A task context that really stores, renders and cancels, in a temporary folder."""

from __future__ import annotations

import fnmatch
import io
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.properties import LOAD, RUN, dynamic_fields
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import ExecutionFilter, ExecutionView, KeyValue, LogLine
from kestra_dagster.runtime.flow_folder import FlowFolder
from kestra_dagster.tasks.registry import default_registry

OWN = ("workingDir", "outputFiles", "outputDirs", "temp")
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


class RecordingLog:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def log(self, level: str, message: str) -> None:
        now = datetime.now(timezone.utc)
        self.lines.append(LogLine(now, level, message, task_id="task", task_run_id="run"))

    def trace(self, message: str) -> None:
        self.log("TRACE", message)

    def debug(self, message: str) -> None:
        self.log("DEBUG", message)

    def info(self, message: str) -> None:
        self.log("INFO", message)

    def warn(self, message: str) -> None:
        self.log("WARN", message)

    def error(self, message: str) -> None:
        self.log("ERROR", message)

    def messages(self, level: str) -> list[str]:
        return [line.message for line in self.lines if line.level == level]


class FolderStorage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, source: Path | BinaryIO | bytes, name: str) -> str:
        assert "/" not in name
        place = f"{uuid.uuid4().hex}/{name}"
        target = self.folder / place
        target.parent.mkdir(parents=True)
        if isinstance(source, Path):
            shutil.copyfile(source, target)
        else:
            with target.open("wb") as file:
                shutil.copyfileobj(
                    io.BytesIO(source) if isinstance(source, bytes) else source, file
                )
        return f"kestra:///{place}"

    def local_path(self, uri: str) -> Path:
        path = self.folder / uri.removeprefix("kestra:///")
        if not uri.startswith("kestra:///") or ".." in uri or not path.is_file():
            raise TaskFailed(f"no file `{uri}` in internal storage")
        return path

    @contextmanager
    def local(self, uri: str) -> Iterator[Path]:
        yield self.local_path(uri)

    def open(self, uri: str) -> AbstractContextManager[BinaryIO]:
        return self.local_path(uri).open("rb")

    def size(self, uri: str) -> int:
        return self.local_path(uri).stat().st_size

    def exists(self, uri: str) -> bool:
        return (self.folder / uri.removeprefix("kestra:///")).is_file()

    def delete(self, uri: str) -> bool:
        existed = self.exists(uri)
        if existed:
            self.local_path(uri).unlink()
        return existed

    def purge(self) -> list[str]:
        found = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        for path in found:
            path.unlink()
        return [f"kestra:///{path.relative_to(self.folder)}" for path in found]

    def text(self, uri: str) -> str:
        return self.local_path(uri).read_text()


class OwnExecution:
    def __init__(self, variables: dict[str, Any]) -> None:
        self.labels: dict[str, str] = {}
        self.vars = variables
        self.state: str | None = None

    def add_labels(self, labels: Mapping[str, str]) -> None:
        self.labels.update(labels)

    def edit_variables(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.vars = change(self.vars)

    def exit(self, state: str) -> None:
        self.state = state


class Executions:
    """Executions as (id, namespace, flow, state) rows, and this task's log."""

    def __init__(self, log: RecordingLog) -> None:
        self.rows: list[tuple[str, str, str, str]] = []
        self.log = log
        self.resumed: dict[str, Mapping[str, Any]] = {}
        self.triggers: dict[tuple[str, str, str], bool] = {}
        self.purged: list[tuple[ExecutionFilter, frozenset[str]]] = []

    def logs(
        self, execution_id: str, level: str = "TRACE", task_ids: Sequence[str] = ()
    ) -> Iterable[LogLine]:
        if execution_id != "execution-1":
            raise TaskFailed(f"no execution `{execution_id}`")
        wanted = LEVELS[LEVELS.index(level) :]
        return [
            line
            for line in self.log.lines
            if line.level in wanted and (not task_ids or line.task_id in task_ids)
        ]

    def count(self, which: ExecutionFilter) -> int:
        return sum(
            (which.namespace is None or namespace == which.namespace)
            and (which.flow_id is None or flow == which.flow_id)
            and (not which.states or state in which.states)
            for _, namespace, flow, state in self.rows
        )

    def view(self, execution_id: str) -> ExecutionView:
        for found, namespace, flow, state in self.rows:
            if found == execution_id:
                start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
                failed = state == "FAILED"
                error = 'it said "no"' if failed else None
                end = start + timedelta(seconds=61)
                return ExecutionView(
                    found, namespace, flow, state, start, end, "load", failed, error
                )
        raise TaskFailed(f"no execution `{execution_id}`")

    def resume(self, execution_id: str, inputs: Mapping[str, Any]) -> None:
        if execution_id not in {row[0] for row in self.rows}:
            raise TaskFailed(f"no execution `{execution_id}`")
        self.resumed[execution_id] = inputs

    def purge(self, which: ExecutionFilter, parts: frozenset[str]) -> Mapping[str, int]:
        self.purged.append((which, parts))
        return {part: self.count(which) for part in parts}

    def purge_logs(self, which: ExecutionFilter, levels: Sequence[str]) -> int:
        kept = [line for line in self.log.lines if levels and line.level not in levels]
        gone = len(self.log.lines) - len(kept)
        self.log.lines = kept
        return gone

    def enable_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None:
        self.triggers[namespace, flow_id, trigger_id] = enabled


class KeyValues:
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], KeyValue] = {}

    def _live(self, value: KeyValue | None) -> bool:
        now = datetime.now(timezone.utc)
        return value is not None and (value.expires is None or value.expires > now)

    def get(self, namespace: str, key: str) -> KeyValue | None:
        value = self.stored.get((namespace, key))
        return value if self._live(value) else None

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
        if not overwrite and self.get(namespace, key):
            return False
        expires = datetime.now(timezone.utc) + ttl if ttl else None
        self.stored[namespace, key] = KeyValue(value, description, expires)
        return True

    def edit(self, namespace: str, key: str, change: Callable[[Any | None], Any]) -> Any:
        current = self.get(namespace, key)
        value = change(current.value if current else None)
        self.set(namespace, key, value)
        return value

    def delete(self, namespace: str, key: str) -> bool:
        return self.stored.pop((namespace, key), None) is not None

    def keys(self, namespace: str, prefix: str = "") -> list[str]:
        return [
            key
            for (space, key), value in sorted(self.stored.items())
            if space == namespace and key.startswith(prefix) and self._live(value)
        ]

    def purge(self, namespaces: Sequence[str], key_pattern: str | None, expired_only: bool) -> int:
        gone = [
            (space, key)
            for (space, key), value in self.stored.items()
            if any(fnmatch.fnmatchcase(space, pattern) for pattern in namespaces)
            and fnmatch.fnmatchcase(key, key_pattern or "*")
            and not (expired_only and self._live(value))
        ]
        for each in gone:
            del self.stored[each]
        return len(gone)


class NamespaceFiles:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self, namespace: str) -> list[str]:
        root = self.folder / namespace
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def open(self, namespace: str, path: str) -> AbstractContextManager[BinaryIO]:
        return (self.folder / namespace / path).open("rb")

    def put(self, namespace: str, path: str, source: Path | BinaryIO | bytes) -> None:
        target = self.folder / namespace / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        elif isinstance(source, Path):
            shutil.copyfile(source, target)
        else:
            target.write_bytes(source.read())

    def delete(self, namespace: str, path: str) -> bool:
        target = self.folder / namespace / path
        existed = target.is_file()
        target.unlink(missing_ok=True)
        return existed


@dataclass
class FolderContext:
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    cancel: CancelToken = field(default_factory=CancelToken)
    metrics: list[tuple[str, float, str, Mapping[str, str] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.variables = {
            "flow": {"id": "flow-1", "namespace": "company.team"},
            "execution": {"id": "execution-1"},
            "task": {"id": "task"},
            "taskrun": {"id": "run"},
            "vars": {},
            **self.variables,
        }
        self.log = RecordingLog()
        self.storage = FolderStorage(self.folder / "storage")
        self.execution = OwnExecution(self.variables["vars"])
        self.executions = Executions(self.log)
        self.kv = KeyValues()
        self.namespace_files = NamespaceFiles(self.folder / "namespaces")
        (self.folder / "flows").mkdir(exist_ok=True)
        self.flow_files = FlowFolder(FlowCatalog(default_registry(), self.folder / "flows"))

    @property
    def working_dir(self) -> Path:
        path = self.folder / "working"
        path.mkdir(exist_ok=True)
        return path

    def render(self, template: str, extra: Mapping[str, Any] | None = None) -> str:
        from kestra_dagster import expressions

        return expressions.render(template, {**self.variables, **(extra or {})})

    def render_typed(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        from kestra_dagster import expressions

        return expressions.render_typed(value, {**self.variables, **(extra or {})})

    def metric(
        self,
        name: str,
        value: float,
        type: str = "counter",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.metrics.append((name, value, type, tags))

    def encrypt(self, value: str) -> Any:
        return {"type": "io.kestra.datatype:aes_encrypted", "value": value[::-1]}

    def run_task(self, definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        from kestra_dagster.tasks.registry import default_registry

        registry = default_registry()
        spec = registry.spec(registry.canonical(definition["type"]))
        assert spec is not None
        assert issubclass(spec, RunnableSpec)
        own = {key: value for key, value in definition.items() if key not in ("id", "type")}
        return self.run(spec, own)

    def run(self, spec: type[RunnableSpec], properties: Mapping[str, Any]) -> Any:
        """Do what the runtime does: check as loaded, render, check as rendered, run."""
        own = spec.model_validate(properties, context=LOAD).own_variables(self)
        self.variables = {**self.variables, **{name: own[name] for name in OWN if name in own}}
        dynamic = dynamic_fields(spec)
        rendered = {
            name: self._deep(value) if name in dynamic else value
            for name, value in properties.items()
        }
        return spec.model_validate(rendered, context=RUN).run(self)

    def _deep(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._deep(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._deep(item) for item in value]
        return self.render(value) if isinstance(value, str) and "{{" in value else value

    def metric_value(self, name: str) -> float:
        return sum(value for found, value, _, _ in self.metrics if found == name)


@pytest.fixture
def context(tmp_path: Path) -> FolderContext:
    return FolderContext(tmp_path)


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
