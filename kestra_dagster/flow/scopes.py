"""Where a flow holds templates, and with which variables each of them is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.model import SourcePath, Task
from kestra_dagster.flow.properties import dynamic_fields
from kestra_dagster.flow.visible import FLOW, Order, Step, Way

if TYPE_CHECKING:
    from kestra_dagster.flow.triggers import Trigger

Kind = Literal["task", "flow", "input", "check", "trigger"]
"""Who renders a template: a task, the execution, the resolving of inputs, or a trigger."""

RENDERED_AFTER_CHILDREN = frozenset(
    {
        (f"{FLOW}LoopUntil", "condition"),
        (f"{FLOW}Loop", "breakWhen"),
        (f"{FLOW}Loop", "outputs"),
        (f"{FLOW}WorkingDirectory", "outputFiles"),
    }
)
"""Properties of flowables that see what the children published."""
_RENDERED_BY_THEMSELVES = RENDERED_AFTER_CHILDREN | {
    (f"{FLOW}ForEachItem", "inputs"),
    (f"{CORE}execution.Assert", "conditions"),
}
"""Properties that are no `Dynamic` and still rendered with the variables of every task."""
_OF_OTHERS = frozenset(
    {
        (f"{FLOW}Subflow", "outputs"),
        (f"{FLOW}Pause", "onResume"),
        (f"{CORE}storage.DeduplicateItems", "expr"),
        (f"{CORE}storage.FilterItems", "filterCondition"),
    }
)
"""Properties rendered with variables of something else: a subflow, a form, an item."""
_OF_TRIGGERS = ("inputs", "labels", "when", "conditions", "preconditions", "dependsOn")


class Scope(NamedTuple):
    """Who renders a template and what it sees; `path` is where the owner stands in the file.

    A `strict` one is rendered for certain, with these variables and no others. `opened`: after the
    children of the owner have run. `foreign`: its names are not those of this flow, or it is never
    rendered.
    """

    kind: Kind
    path: SourcePath
    strict: bool = True
    owner: Task | None = None
    prop: str = ""
    way: Way = ()
    opened: bool = False
    foreign: bool = False
    inputs: bool = True


class Site(NamedTuple):
    """A template, the place it was read from, and its scope."""

    text: str
    path: SourcePath
    scope: Scope


def task_sites(task: Task, order: Order) -> Iterator[Site]:
    """Yield the templates of one task, of those below it none."""
    found: list[tuple[str, Any]] = []
    for name, value in task.properties.items():
        kind = value.__class__
        if (kind is str and "{" in value) or kind is dict or kind is list:
            found.append((name, value))
    options = task.options
    if options.run_if is not None:
        found.append(("runIf", options.run_if))
    if options.timeout.__class__ is str:
        found.append(("timeout", options.timeout))
    for name, value in found:
        scope = None
        for text, path in _templates(value, (*task.path, name)):
            scope = scope or _task_scope(task, name, order)
            yield Site(text, path, scope)


def _task_scope(task: Task, name: str, order: Order) -> Scope:
    at = (task.type, name)
    rendered = name in ("runIf", "timeout") or name in dynamic_fields(type(task.spec))
    runs = task.id not in order.off
    return Scope(
        kind="task",
        path=task.path,
        strict=(rendered or at in _RENDERED_BY_THEMSELVES) and runs,
        owner=task,
        prop=name,
        way=order.ways[task.id],
        opened=at in RENDERED_AFTER_CHILDREN,
        foreign=at in _OF_OTHERS or not runs,
    )


_ENDED = Scope("flow", (), way=(Step(None, "outputs", 0),))
_OF_FLOW: tuple[tuple[str, tuple[str, ...], Scope], ...] = (
    ("outputs", ("value",), _ENDED),
    ("sla", ("assert",), Scope("flow", (), strict=False)),
    ("checks", ("condition", "when"), Scope("check", ())),
    ("inputs", ("expression", "dependsOn"), Scope("input", ())),
    # Before 1.0 a default was taken as it is written, so it may hold a template for later.
    ("inputs", ("defaults",), Scope("input", (), strict=False)),
    ("listeners", ("conditions",), Scope("trigger", (), strict=False, inputs=False)),
)


def flow_sites(data: Mapping[str, Any]) -> Iterator[Site]:
    """Yield the templates at the top of a flow: its outputs, promises, checks and inputs."""
    for name, keys, scope in _OF_FLOW:
        if name in data:
            yield from _listed(data, name, keys, scope)


def _listed(
    data: Mapping[str, Any], name: str, keys: Sequence[str], scope: Scope
) -> Iterator[Site]:
    items = data.get(name)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        for key in keys if isinstance(item, dict) else ():
            for text, path in _templates(item.get(key), (name, index, key)):
                yield Site(text, path, scope)


def trigger_sites(trigger: Trigger) -> Iterator[Site]:
    """Yield the templates of a trigger."""
    from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates

    # The inputs that a Flow trigger sees are those of the execution it listens to.
    own = isinstance(trigger.spec, (Schedule, ScheduleOnDates))
    for name, value in trigger.properties.items():
        strict = name in _OF_TRIGGERS and not trigger.disabled
        for text, path in _templates(value, (*trigger.path, name)):
            yield Site(text, path, Scope("trigger", trigger.path, strict, prop=name, inputs=own))


def variable_sites(value: Any, path: SourcePath, scope: Scope) -> Iterator[Site]:
    """Yield the templates in a variable that an expression of `scope` renders."""
    for text, place in _templates(value, path):
        yield Site(text, place, scope)


def _templates(value: Any, path: SourcePath) -> Iterator[tuple[str, SourcePath]]:
    kind = value.__class__
    if kind is str:
        if "{" in value and ("{{" in value or "{%" in value):
            yield value, path
    elif kind is dict:
        for key, item in value.items():
            if "{" in key:
                yield from _templates(key, (*path, key))
            yield from _templates(item, (*path, key))
    elif kind is list:
        for index, item in enumerate(value):
            yield from _templates(item, (*path, index))
