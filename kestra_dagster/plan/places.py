"""Where every task of a flow stands: its ancestors, its branch, the loops around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kestra_dagster.flow.model import Flow, Task
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
    return found


def _visit(task: Task, ancestors: tuple[Task, ...], branch: str, found: dict[str, Place]) -> None:
    found[task.id] = Place(task, ancestors, branch)
    for name, children in task.branches.items():
        for child in children:
            _visit(child, (*ancestors, task), name, found)
