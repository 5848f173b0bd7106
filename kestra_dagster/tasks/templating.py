"""A task whose text is made at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import KestraDagsterError, TaskMisconfigured
from kestra_dagster.flow.dialects import CORE, canonical
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.reader import read_value
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext

_OWN_TYPE = f"{CORE}templating.TemplatedTask"


class TemplatedTask(RunnableSpec):
    """Run the task that a rendered text describes."""

    spec: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any] | None:
        try:
            definition = read_value(self.spec)
        except (KestraDagsterError, ValueError) as error:
            raise TaskMisconfigured(f"`spec` is not valid YAML: {error}") from error
        if not isinstance(definition, dict) or not isinstance(definition.get("type"), str):
            raise TaskMisconfigured("`spec` must describe one task, with a `type`")
        if canonical(definition["type"]) == _OWN_TYPE:
            raise TaskMisconfigured(f"The templated task cannot be of type '{_OWN_TYPE}'")
        return context.run_task(definition)
