"""Listeners of the 0.x dialect: tasks that run after an execution ended."""

from __future__ import annotations

from typing import Any

from kestra_dagster.flow.conditions import AnyCondition
from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.model import Listener
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Text
from kestra_dagster.flow.tasks import TaskReader
from kestra_dagster.flow.validation import check_list, check_map, validate


class ListenerShape(Part):
    """A listener of the 0.x dialect without its tasks."""

    conditions: tuple[AnyCondition, ...] = ()
    description: Text | None = None


def read_listeners(value: Any, reader: TaskReader, report: Report) -> tuple[Listener, ...]:
    """Read the `listeners` of a flow."""
    found = []
    for index, item in enumerate(check_list(value, ("listeners",), report, "listeners")):
        path = ("listeners", index)
        data = check_map(item, path, report, "a listener")
        if data is None:
            continue
        own = {key: part for key, part in data.items() if key != "tasks" and part is not None}
        shape = validate(ListenerShape, own, path, report, "a listener", ("tasks",))
        tasks = reader.tasks(data.get("tasks"), (*path, "tasks"), "tasks")
        if data.get("tasks") in (None, []):
            report.add("KD021", path, name="tasks", owner="a listener")
        if shape is not None:
            found.append(Listener(shape.conditions, tasks, shape.description))
    return tuple(found)
