"""Tasks on the state of a flow: a map that outlives its executions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.merging import merged


class StateSpec(RunnableSpec):
    """The properties of the state tasks: whose state it is."""

    name: Dynamic[Text] = "default"
    namespace: Dynamic[bool] = False
    taskrun_value: Dynamic[bool] = True

    def place(self, context: TaskContext) -> tuple[str, str]:
        """Return the namespace and key of the state in the key-value store, as Kestra names it."""
        flow = context.variables["flow"]
        key = f"states_{self.name}"
        if not self.namespace:
            key = f"{flow['id']}_{key}"
        value = context.variables["taskrun"].get("value")
        if self.taskrun_value and value is not None:
            key = f"{key}_{value}"
        return flow["namespace"], key


class Set(StateSpec):
    """Merge data into the state; a literal keeps its type, what is rendered is text."""

    data: Dynamic[dict[str, Any]] = Field(default_factory=dict)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace, key = self.place(context)
        state = context.kv.edit(namespace, key, lambda current: merged(current or {}, self.data))
        return {"count": len(state), "key": key}


class Get(StateSpec):
    """Read the state."""

    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace, key = self.place(context)
        found = context.kv.get(namespace, key)
        if found is None and self.error_on_missing:
            raise _missing(key)
        data = found.value if found else {}
        return {"count": len(data), "data": data}


class Delete(StateSpec):
    """Delete the state."""

    error_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        namespace, key = self.place(context)
        deleted = context.kv.delete(namespace, key)
        if not deleted and self.error_on_missing:
            raise _missing(key)
        return {"deleted": deleted}


def _missing(key: str) -> TaskFailed:
    return TaskFailed(f"State {key} not found", hint="set it first, or `errorOnMissing: false`")
