"""The keys of `expect` that look at a flow as it was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from conformance.seen import Seen
from conformance.values import ABSENT, at_path, difference

from kestra_dagster.flow.model import Flow, Task


def _flow(seen: Seen) -> Flow:
    if seen.flow is None:
        raise seen.error or AssertionError("there is no flow to look at")
    return seen.flow


def _equal(read: Callable[[Flow], Any]) -> Callable[[Seen, Any], list[str]]:
    def check(seen: Seen, wanted: Any) -> list[str]:
        found = difference(wanted, read(_flow(seen)), seen.symbol)
        return [found] if found else []

    return check


def _flow_json(seen: Seen, wanted: Mapping[str, Any]) -> list[str]:
    found = difference(wanted, flow_json(_flow(seen)), seen.symbol)
    return [found] if found else []


def flow_json(flow: Flow) -> dict[str, Any]:
    """Return what a small flow looks like as JSON, with the defaults Kestra writes out."""
    labels = [{"key": key, "value": value} for key, value in flow.labels.items()]
    tasks = [{"id": task.id, "type": task.type, **task.properties} for task in flow.tasks]
    return {
        "id": flow.id,
        "namespace": flow.namespace,
        "revision": flow.revision,
        "disabled": flow.disabled,
        "deleted": False,
        **({"labels": labels} if labels else {}),
        "tasks": tasks,
    }


def _task_props(seen: Seen, wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    tasks = {task.id: task for task in _flow(seen).walk()}
    found = []
    for name, props in wanted.items():
        for prop, value in props.items():
            actual = _property(tasks[name], prop) if name in tasks else ABSENT
            wrong = difference(_seconds(value), _seconds(actual), seen.symbol)
            found += [f"{name}.{prop}: {wrong}"] if wrong else []
    return found


def _property(task: Task, path: str) -> Any:
    """Return a property by its path, `retry.maxAttempt`; `x_seconds` is a duration in seconds."""
    value: Any = task.options
    for part in path.removesuffix("_seconds").split("."):
        name = "".join(f"_{char.lower()}" if char.isupper() else char for char in part)
        name = {"max_attempt": "max_attempts"}.get(name, name)
        known = hasattr(value, name)
        value = getattr(value, name) if known else at_path(task.properties, path.replace(".", "/"))
        if not known:
            break
    return value.total_seconds() if path.endswith("_seconds") else value


def _seconds(value: Any) -> Any:
    from kestra_dagster.flow.properties import parse_duration

    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and value.startswith("PT"):
        return parse_duration(value).total_seconds()
    return value


def _valid(seen: Seen, wanted: bool) -> list[str]:
    return [] if (seen.flow is not None) == wanted else [f"got {seen.error}"]


PARSED: Mapping[str, Callable[[Seen, Any], list[str]]] = {
    "flow_id": _equal(lambda flow: flow.id),
    "flow_json": _flow_json,
    "inputs_count": _equal(lambda flow: len(flow.inputs)),
    "inputs_optional": _equal(lambda flow: sum(not one.required for one in flow.inputs)),
    "inputs_required": _equal(lambda flow: sum(one.required for one in flow.inputs)),
    "inputs_with_defaults": _equal(
        lambda flow: sum(one.defaults is not None for one in flow.inputs)
    ),
    "string_inputs_with_validator": _equal(
        lambda flow: sum(getattr(one, "validator", None) is not None for one in flow.inputs)
    ),
    "task_props": _task_props,
    "top_level_tasks": _equal(lambda flow: len(flow.tasks)),
    "valid": _valid,
}
