"""The surroundings of a case: a real execution whose files, keys, secrets and logs it names."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.host import BareHost, ExecutionHost
from kestra_dagster.runtime.kv_memory import MemoryKeyValues
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.tasks.registry import default_registry

FLOW = """\
id: {id}
namespace: {namespace}
tasks:
  - id: task
    type: io.kestra.plugin.core.debug.Return
"""


class ZonedHost(ExecutionHost):
    """The real host, in the time zone of a case instead of this machine's."""

    zone: tzinfo = timezone.utc

    @property
    def time_zone(self) -> tzinfo:
        return self.zone


class ZonedBareHost(BareHost):
    """The host without an execution, in the time zone of a case."""

    zone: tzinfo = timezone.utc

    @property
    def time_zone(self) -> tzinfo:
        return self.zone


def execution_in(
    folder: Path,
    flow_id: str = "flow",
    namespace: str = "io.kestra.tests",
    execution_id: str = "execution",
    trigger: Mapping[str, Any] | None = None,
) -> Execution:
    """Return a real execution of a small flow, its storage below a folder."""
    file = folder / "flow.yaml"
    file.write_text(FLOW.format(id=flow_id, namespace=namespace))
    types = default_registry()
    flow = load_flow(file, types).require()
    platform = Platform(folder / "root", types, kv=MemoryKeyValues())
    return Execution(compile_flow(flow), platform, execution_id, trigger=trigger)


def write_namespace_file(execution: Execution, namespace: str, path: str, content: str) -> None:
    target = execution.platform.root / "namespaces" / namespace / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)


def _set_up(setup: Mapping[str, Any], execution: Execution) -> dict[str, str]:
    """Make what a case needs there; return the environment variables it needs."""
    for namespace, files in setup.get("namespace_files", {}).items():
        for path, content in files.items():
            write_namespace_file(execution, namespace, path, content)
    for uri, content in setup.get("storage", {}).items():
        target = execution.platform.root / "files" / uri.removeprefix("kestra:///")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    for line in setup.get("logs", []):
        if line.get("execution", execution.id) == execution.id:
            now = datetime.now(timezone.utc)
            execution.log(LogLine(now, line["level"], line["message"]), "task")
    for key, value in _by_namespace(setup.get("kv", {}), execution):
        execution.platform.kv.set(*key, value)
    environment = {str(name): str(value) for name, value in setup.get("env", {}).items()}
    for (_, name), value in _by_namespace(setup.get("secrets", {}), execution):
        encoded = base64.b64encode(str(value).encode()).decode()
        environment[f"SECRET_{name.upper()}"] = encoded
    return environment


def _by_namespace(entries: Any, execution: Execution) -> Iterator[tuple[tuple[str, str], Any]]:
    own = execution.flow.namespace
    for key, value in entries.items():
        if isinstance(value, dict) and key.startswith(own.partition(".")[0]):
            for inner, item in value.items():
                yield (key, inner), item
        else:
            yield (own, key), value


@contextmanager
def case_host(
    case: Mapping[str, Any], variables: Mapping[str, Any], folder: Path
) -> Iterator[BareHost]:
    """Give the host of a case."""
    zone = ZoneInfo(case.get("timezone") or "UTC")
    if not case.get("setup") and "flow" not in variables:
        bare = ZonedBareHost(Masker())
        bare.zone = zone
        yield bare
        return
    flow, execution = variables.get("flow") or {}, variables.get("execution") or {}
    made = execution_in(
        folder,
        flow.get("id", "flow"),
        flow.get("namespace", "io.kestra.tests"),
        execution.get("id", "execution"),
        variables.get("trigger"),
    )
    host = ZonedHost(made)
    host.zone = zone
    try:
        with patch.dict(os.environ, _set_up(case.get("setup") or {}, made)):
            yield host
    finally:
        made.journal.close()
