"""Which task runs come after another one: what a replay has to run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kestra_dagster.flow.model import Flow, Task
from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.places import Place
from kestra_dagster.runtime.records import LoopItem, TaskRun

_LATER = {"onPause": -1, "errors": 1, "finally": 2, "afterExecution": 3}
"""Branches by when they run; all others are at 0."""


def comes_after(run: TaskRun, chosen: TaskRun, places: Mapping[str, Place], flow: Flow) -> bool:
    """Say whether a run belongs to what follows the chosen one: below it, or behind it.

    What ran beside it (the other branches of a Parallel, other values of a loop with more than one
    at once) does not.
    """
    own, other = list(_steps(run, places)), list(_steps(chosen, places))
    parent: Task | None = None
    for mine, its in zip(own, other, strict=False):
        if mine != its:
            return _behind(mine, its, parent, flow)
        parent = places[mine[0]].task
    return len(own) > len(other)


def below(run: TaskRun, chosen: TaskRun, places: Mapping[str, Place]) -> bool:
    """Say whether a run is one of a flowable's children, at any depth."""
    own, other = list(_steps(run, places)), list(_steps(chosen, places))
    return len(own) > len(other) and own[: len(other)] == other


_Step = tuple[str, str, "LoopItem | None"]
"""A task, its branch, and the iteration of the loop around it."""


def _steps(run: TaskRun, places: Mapping[str, Place]) -> Iterator[_Step]:
    place = places[run.task_id]
    items = {item.task_id: item for item in run.loop}
    around: Task | None = None
    for task in (*place.ancestors, place.task):
        yield task.id, places[task.id].branch, items.get(around.id) if around else None
        around = task


def _behind(mine: _Step, its: _Step, parent: Task | None, flow: Flow) -> bool:
    task, branch, item = mine
    other, other_branch, other_item = its
    if item != other_item and item and other_item:
        return item.number > other_item.number and _one_by_one(parent)
    if branch != other_branch:
        return _LATER.get(branch, 0) > _LATER.get(other_branch, 0)
    kind = parent.type.removeprefix(CORE_FLOW) if parent else ""
    if branch in ("tasks", "") and kind in ("Parallel", "EachParallel"):
        return False
    if branch == "tasks" and kind == "Dag":
        assert parent is not None
        return other in _awaited(task, parent.depends_on)
    siblings = parent.branches.get(branch, ()) if parent else _roots(flow, branch)
    order = {child.id: index for index, child in enumerate(siblings)}
    return order.get(task, 0) > order.get(other, 0)


def _roots(flow: Flow, branch: str) -> tuple[Task, ...]:
    return {
        "errors": flow.errors,
        "finally": flow.finally_,
        "afterExecution": flow.after_execution,
    }.get(branch, flow.tasks)


def _one_by_one(loop: Task | None) -> bool:
    if loop is None or loop.type == CORE_FLOW + "EachParallel":
        return False
    default = 0 if loop.type == CORE_FLOW + "Loop" else 1
    return getattr(loop.spec, "concurrency_limit", default) == 1


def _awaited(task: str, depends_on: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    waiting = [task]
    while waiting:
        for before in depends_on.get(waiting.pop(), ()):
            if before not in found:
                found.add(before)
                waiting.append(before)
    return found
