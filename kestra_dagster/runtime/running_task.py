"""The context of a running task: what runtime/context.py promises, over a real execution."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kestra_dagster import expressions
from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Task
from kestra_dagster.flow.properties import RUN, dynamic_fields, has_template
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.encryption import encrypted
from kestra_dagster.runtime.flow_folder import FlowFolder
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.runtime.host import ExecutionHost
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.task_cache import cached
from kestra_dagster.runtime.task_log import LogFile, RunningLog
from kestra_dagster.runtime.variables import Overlaid

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.task_run import StepRun


class RunningTask:
    """One attempt of a task (the `TaskContext` that tasks see)."""

    def __init__(self, task: Task, at: StepRun, run: TaskRun, cancel: CancelToken) -> None:
        self.task = task
        self.run = run
        self.cancel = cancel
        self.execution = at.execution
        self.executions = at.execution.platform.executions
        self.kv = at.execution.platform.kv
        self.namespace_files = at.execution.platform.namespace_files
        self.flow_files = FlowFolder(at.execution.platform.flows)
        self._log_file = LogFile(at.execution.masker.text) if task.options.log_to_file else None
        write = self._log_file.write if self._log_file else partial(at.log, run)
        self.log = RunningLog(write, task.options.log_level)
        self.storage = at.execution.storage.task(task.id, run.id)
        self.variables: Mapping[str, Any] = at.execution.variables(task, run)
        self._at = at
        self._folder: Path | None = None
        self._given_folder = at.shared_folder
        self._host = ExecutionHost(at.execution, run, cancel)

    def use_folder(self, folder: Path) -> None:
        """Work in a folder that somebody else made and will remove."""
        self._given_folder = folder

    @property
    def working_dir(self) -> Path:
        if self._given_folder:
            return self._given_folder
        if self._folder is None:
            self._folder = guarded_folder()
        return self._folder

    def render(self, template: str, extra: Mapping[str, Any] | None = None) -> str:
        return expressions.render(template, self._with(extra), self._host)

    def render_typed(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        return expressions.render_typed(value, self._with(extra), self._host)

    def render_value(self, value: Any) -> Any:
        """Render every string of nested data to text."""
        return expressions.render_value(value, self.variables, self._host)

    def metric(
        self,
        name: str,
        value: float,
        type: str = "counter",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        metric = {"name": name, "value": value, "type": type, "tags": dict(tags or {})}
        self.execution.journal.append(self._at.key, {"metric": metric, "of": self.run.id})

    def encrypt(self, value: str) -> Any:
        self._at.execution.masker.add(value)
        return encrypted(value)

    def perform(self, task: Task) -> Mapping[str, Any] | None:
        """Render a runnable task and do its work."""
        return cached(task, rendered_spec(task, self), self)

    def run_task(self, definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        from kestra_dagster.runtime.templated import run_templated

        return run_templated(definition, self)

    def find_flow(self, namespace: str, flow_id: str) -> Flow:
        from kestra_dagster.runtime.subflows import flow_named

        return flow_named(namespace, flow_id, self)

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
        from kestra_dagster.runtime.subflows import start_flow

        flow = self.find_flow(namespace, flow_id)
        return start_flow(flow, self, inputs, labels, inherit_labels, schedule_date)

    def store_log(self) -> str | None:
        """Keep the lines of a task that logs to a file; return the file's URI."""
        return self._log_file.stored(self.storage.put) if self._log_file else None

    def close(self) -> None:
        """Remove the working folder."""
        if self._folder:
            remove_guarded(self._folder)

    def _with(self, extra: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return Overlaid(extra, self.variables) if extra else self.variables


def rendered_spec(task: Task, context: RunningTask) -> Any:
    """Return the task's model with its templates rendered, or raise naming the place.

    An expression that fails is raised as ExpressionError would be, with the property and the line
    in front: it may render on the next attempt.
    """
    names = [
        name
        for name in dynamic_fields(type(task.spec))
        if name in task.properties and has_template(task.properties[name])
    ]
    if not names:
        return task.spec
    own = task.spec.own_variables(context) if isinstance(task.spec, RunnableSpec) else {}
    if own:
        context.variables = Overlaid(own, context.variables)
    rendered = dict(task.properties)
    for name in names:
        try:
            rendered[name] = context.render_value(rendered[name])
        except ExpressionError as error:
            place = context.execution.place(task.id, name)
            raise TaskFailed(f"cannot render `{name}` ({place}): {error}") from error
    try:
        return type(task.spec).model_validate(rendered, context=RUN)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        place = context.execution.place(task.id, *(str(part) for part in problem["loc"][:1]))
        raise TaskMisconfigured(
            f"`{name}` ({place}) has the wrong value after rendering: {problem['msg']}, "
            f"but it is {problem['input']!r}"
        ) from None
