"""Where every task of a flow stands: its ancestors, its branch, the loops around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from kestra_dagster.flow.flowables import HiddenStep
from kestra_dagster.flow.model import Flow, Task, TaskOptions
from kestra_dagster.plan.compile import CORE_FLOW

LOOPS = frozenset(
    CORE_FLOW + name for name in ("ForEach", "EachSequential", "EachParallel", "Loop")
)
"""Flowables that give their direct children a value."""


@dataclass(frozen=True, slots=True)
class Place:
    """A task, its ancestors (outermost first) and the branch of its parent it stands in."""

    task: Task
    ancestors: tuple[Task, ...]
    branch: str

    @property
    def parent(self) -> Task | None:
        """The flowable around the task."""
        return self.ancestors[-1] if self.ancestors else None

    @property
    def key(self) -> str:
        """The path of task ids, as in step keys."""
        return "/".join((*(task.id for task in self.ancestors), self.task.id))

    @property
    def has_value(self) -> bool:
        """Say whether the task is a direct child of a loop."""
        return self.parent is not None and self.parent.type in LOOPS and self.branch == "tasks"


def places(flow: Flow) -> Mapping[str, Place]:
    """Return the place of every task of a flow, disabled ones too, by task id."""
    found: dict[str, Place] = {}
    roots = {
        "tasks": flow.tasks,
        "errors": flow.errors,
        "finally": flow.finally_,
        "afterExecution": flow.after_execution,
    }
    for branch, tasks in roots.items():
        for task in tasks:
            _visit(task, (), branch, found)
    for listener in flow.listeners:
        for task in listener.tasks:
            _visit(task, (), "listeners", found)
    return found


def places_below(parent: Place, tasks: Iterable[Task]) -> Mapping[str, Place]:
    """Return the places of tasks, and all below them, that run as `tasks` of a flowable."""
    found: dict[str, Place] = {}
    for task in tasks:
        _visit(task, (*parent.ancestors, parent.task), "tasks", found)
    return found


def hidden_ids(task: Task) -> tuple[str, str, str]:
    """Return the ids of the three task runs below a ForEachItem."""
    return f"{task.id}_split", f"{task.id}_items", f"{task.id}_merge"


def _hidden(task: Task) -> Iterator[Task]:
    kinds = ("ForEachItemSplit", "ForEachItemExecutable", "ForEachItemMergeOutputs")
    for name, kind in zip(hidden_ids(task), kinds, strict=True):
        type_name = f"{task.type}${kind}"
        yield replace(
            task,
            id=name,
            type=type_name,
            written_type=type_name,
            spec=HiddenStep(),
            properties={},
            options=TaskOptions(log_level=task.options.log_level),
            branches={},
        )


def _visit(task: Task, ancestors: tuple[Task, ...], branch: str, found: dict[str, Place]) -> None:
    found[task.id] = Place(task, ancestors, branch)
    if task.type == CORE_FLOW + "ForEachItem":
        for hidden in _hidden(task):
            found[hidden.id] = Place(hidden, (*ancestors, task), "tasks")
    for name, children in task.branches.items():
        for child in children:
            _visit(child, (*ancestors, task), name, found)
