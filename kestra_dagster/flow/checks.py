"""How the parts of a flow fit together: ids, references, circles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.flow import label_map
from kestra_dagster.flow.model import SourcePath, Task
from kestra_dagster.flow.properties import scalar_text
from kestra_dagster.flow.reader import value_mark
from kestra_dagster.flow.validation import describe, suggest

FLOW_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*\Z")
NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
RESERVED = frozenset(
    {
        "pause",
        "resume",
        "force-run",
        "change-status",
        "kill",
        "executions",
        "search",
        "source",
        "disable",
        "enable",
    }
)
_ALLOWED_SYSTEM_LABELS = ("system.readOnly",)


def check_names(data: Mapping[str, Any], report: Report) -> None:
    """Check id and namespace of the flow."""
    flow_id, namespace = (scalar_text(data.get(name)) for name in ("id", "namespace"))
    _check_name(flow_id, "id", "flow", FLOW_ID, 100, "letters, digits, `.`, `_`, `-`", report)
    kinds = "lower-case letters, digits, `.`, `_`, `-`"
    _check_name(namespace, "namespace", "namespace", NAMESPACE, 150, kinds, report)
    if flow_id in RESERVED:
        at = value_mark(report.source, ("id",))
        report.add("KD013", ("id",), at=at, what="flow", id=flow_id, reason="Kestra reserves it")


def _check_name(
    value: Any,
    key: str,
    what: str,
    pattern: re.Pattern[str],
    longest: int,
    kinds: str,
    report: Report,
) -> None:
    if value is None:
        return
    if isinstance(value, str) and pattern.match(value) and len(value) <= longest:
        return
    reason = f"it starts with a letter or digit, holds only {kinds}, at most {longest} of them"
    shown = value if isinstance(value, str) else describe(value)
    at = value_mark(report.source, (key,))
    report.add("KD013", (key,), at=at, what=what, id=shown, reason=reason)


def check_labels(data: Mapping[str, Any], report: Report) -> None:
    """Refuse labels that only Kestra itself sets."""
    _check_system_labels(data.get("labels"), ("labels",), report)
    sla = data.get("sla")
    for index, item in enumerate(sla if isinstance(sla, list) else ()):
        if isinstance(item, dict):
            _check_system_labels(item.get("labels"), ("sla", index, "labels"), report)


def _check_system_labels(labels: Any, path: SourcePath, report: Report) -> None:
    if isinstance(labels, list) and not all(
        isinstance(item, dict) and item.keys() == {"key", "value"} for item in labels
    ):
        return
    found = label_map(labels)
    for key, value in found.items() if isinstance(found, dict) else ():
        if key.startswith("system.") and key not in _ALLOWED_SYSTEM_LABELS:
            index = next((i for i, x in enumerate(labels) if x == {"key": key, "value": value}), -1)
            place = (*path, index if isinstance(labels, list) else key)
            report.add("KD023", place, key=key, value=scalar_text(value))


def check_unique(items: Any, name: str, what: str, report: Report) -> None:
    """Report ids that come twice in a top-level list (inputs by `id` or `name`)."""
    seen: dict[str, SourcePath] = {}
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict):
            continue
        key = "id" if "id" in item else "name"
        found, place = scalar_text(item.get(key)), (name, index, key)
        if not isinstance(found, str):
            continue
        if found in seen:
            line = report.source.mark(seen[found]).line
            at = value_mark(report.source, place)
            report.add("KD014", place, at=at, what=what, id=found, line=line)
        seen.setdefault(found, place)


def check_inputs(items: Any, path: SourcePath, report: Report) -> None:
    """Check that `dependsOn` of inputs names inputs, in no circle."""
    waits: dict[str, list[str]] = {}
    places: dict[str, SourcePath] = {}
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            input_id = str(scalar_text(item.get("id", item.get("name"))))
            depends = item.get("dependsOn")
            others = depends.get("inputs") if isinstance(depends, dict) else None
            waits[input_id] = [str(other) for other in others or () if isinstance(others, list)]
            places[input_id] = (*path, index, "dependsOn", "inputs")
    _check_dependencies(waits, places, "an input of the flow", report)


def check_tasks(tasks: Iterable[Task], flow_id: str, namespace: str, report: Report) -> None:
    """Check what tasks say about each other and about their flow, at any depth."""
    for top in tasks:
        for task in top.walk():
            check = _BY_TYPE.get(task.type)
            if check:
                check(task, flow_id, namespace, report)


def _check_dag(task: Task, flow_id: str, namespace: str, report: Report) -> None:
    waits = {child: list(others) for child, others in task.depends_on.items()}
    places = {child.id: (*child.path[:-1], "dependsOn") for child in task.branches.get("tasks", ())}
    _check_dependencies(waits, places, f"a task of the Dag `{task.id}`", report)


def _check_working_directory(task: Task, flow_id: str, namespace: str, report: Report) -> None:
    for child in task.branches.get("tasks", ()):
        if child.spec.kind != "runnable":
            place = (*child.path, "type")
            at = value_mark(report.source, place)
            report.add("KD033", place, at=at, id=task.id)


def _check_recursion(task: Task, flow_id: str, namespace: str, report: Report) -> None:
    properties = task.properties
    if properties.get("flowId") == flow_id and properties.get("namespace") == namespace:
        place = (*task.path, "flowId")
        hint = "a flow that starts itself never ends"
        report.add("KD032", place, namespace=namespace, id=flow_id, hint=hint)


_BY_TYPE: Mapping[str, Callable[[Task, str, str, Report], None]] = {
    f"{CORE}flow.Dag": _check_dag,
    f"{CORE}flow.WorkingDirectory": _check_working_directory,
    f"{CORE}flow.Subflow": _check_recursion,
    f"{CORE}flow.ForEachItem": _check_recursion,
}


def _check_dependencies(
    waits: Mapping[str, list[str]],
    places: Mapping[str, SourcePath],
    where: str,
    report: Report,
) -> None:
    for name, others in waits.items():
        for index, other in enumerate(others):
            if other not in waits:
                place = (*places[name], index)
                hint = suggest(other, (known for known in waits if known != name))
                report.add("KD030", place, id=name, other=other, where=where, hint=hint)
    cycle = _find_cycle(waits)
    if cycle:
        shown = " -> ".join(f"`{name}`" for name in (*cycle, cycle[0]))
        report.add("KD031", places[cycle[0]], cycle=shown)


def _find_cycle(waits: Mapping[str, list[str]]) -> list[str]:
    """Return the names of one circle, [] if there is none."""
    done: set[str] = set()
    for start in waits:
        trail: list[str] = []
        stack = [(start, iter(waits[start]))]
        while stack:
            name, others = stack[-1]
            if name not in trail and name not in done:
                trail.append(name)
            following = next((other for other in others if other in waits), None)
            if following is None or name in done:
                stack.pop()
                done.add(name)
                if trail and trail[-1] == name:
                    trail.pop()
            elif following in trail:
                return trail[trail.index(following) :]
            elif following not in done:
                stack.append((following, iter(waits[following])))
    return []
