"""TemplatedTask: run a task that is itself the result of a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.diagnostics import Report, format_diagnostics
from kestra_dagster.flow.model import Source, Task
from kestra_dagster.flow.tasks import TaskReader

if TYPE_CHECKING:
    from kestra_dagster.runtime.running_task import RunningTask


def run_templated(definition: Mapping[str, Any], context: RunningTask) -> Mapping[str, Any] | None:
    """Read, render and run a runnable task within the run of `context`; return its outputs."""
    task = _read(definition, context)
    if task.spec.kind != "runnable":
        raise TaskMisconfigured(
            f"`{task.written_type}` cannot run here",
            hint="a templated task is one that does something by itself, not a flowable",
        )
    return context.perform(task)


def _read(definition: Mapping[str, Any], context: RunningTask) -> Task:
    report = Report(Source(f"the templated task `{context.task.id}`", "", {}))
    data = {"id": context.task.id, **definition}
    task = TaskReader(context.execution.platform.types, report).task(data, ())
    if task is None or report.failed:
        raise TaskMisconfigured(
            f"the templated task is not valid: {format_diagnostics(report.found, ())}"
        )
    return task
