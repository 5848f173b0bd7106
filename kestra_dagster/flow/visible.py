"""Which tasks have run, or may have, when an expression of another task is rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from kestra_dagster.flow.dialects import CORE
from kestra_dagster.flow.model import Task

FLOW = f"{CORE}flow."
EACH = frozenset(f"{FLOW}{name}" for name in ("ForEach", "EachSequential", "EachParallel"))
"""Loops whose children have a `taskrun.value`."""
LOOP = f"{FLOW}Loop"
_REPEATING = EACH | {f"{FLOW}LoopUntil"}
_SIDE_BY_SIDE = frozenset(f"{FLOW}{name}" for name in ("Parallel", "EachParallel", "Dag"))
_RANKS: Mapping[str, int] = {
    "onPause": -1,
    "errors": 1,
    "finally": 2,
    "outputs": 3,
    "afterExecution": 4,
    "listeners": 5,
}
"""Branches by the order in which they run; those that are not here come first."""

Relation = Literal[
    "before", "around", "itself", "inside", "later", "other branch", "together", "isolated", "off"
]
"""How a task stands to an expression that reads its outputs.

before: it ran or may have; around: it is a flowable around the expression; itself: it owns the
expression; inside: it is below the owner; other branch: of an If or Switch that runs only one;
together: it runs side by side; isolated: it is inside of a Loop (2.x) that the expression is not
in; off: it is disabled.
"""


class Step(NamedTuple):
    """One level of the way to a task: in which branch of what (None: the flow), the how many-th."""

    container: Task | None
    branch: str
    number: int


Way = tuple[Step, ...]
"""The levels from the flow down to a task."""


class Seen(NamedTuple):
    """A task as seen from an expression.

    `by` is the flowable that decides it, if one does. `again` says that both are in a loop, where
    an earlier round may have left outputs.
    """

    relation: Relation
    by: Task | None = None
    again: bool = False


class Order:
    """The order of a flow's tasks; `branches` are its top-level lists by their YAML names."""

    def __init__(self, branches: Iterable[tuple[str, Iterable[Task]]]) -> None:
        self.tasks: dict[str, Task] = {}
        self.ways: dict[str, Way] = {}
        self.off: set[str] = set()
        """The tasks that never run, because they or something around them is disabled."""
        self._closures: dict[str, Mapping[str, frozenset[str]]] = {}
        counts: dict[str, int] = {}
        for name, tasks in branches:
            for task in tasks:
                index = counts[name] = counts.get(name, -1) + 1
                self._add(task, (Step(None, name, index),))

    def _add(self, task: Task, way: Way) -> None:
        self.tasks[task.id] = task
        self.ways[task.id] = way
        around = way[-1].container
        if task.options.disabled or (around is not None and around.id in self.off):
            self.off.add(task.id)
        if task.type == f"{FLOW}ForEachItem":
            for part in ("split", "items", "merge"):
                self.tasks.setdefault(f"{task.id}_{part}", task)
        for branch, children in task.branches.items():
            for index, child in enumerate(children):
                self._add(child, (*way, Step(task, branch, index)))

    def own_tasks(self) -> Iterator[Task]:
        """Yield every task of the flow, parents first."""
        for task_id in self.ways:
            yield self.tasks[task_id]

    def ancestors(self, task: Task) -> Iterator[Task]:
        """Yield the flowables around a task, the outermost first."""
        for step in self.ways[task.id]:
            if step.container is not None:
                yield step.container

    def seen(self, other_id: str, owner: Task | None, way: Way, opened: bool = False) -> Seen:
        """Say how the task `other_id` stands to an expression of `owner`, which is at `way`.

        The owner None is the flow itself. `opened` says that the expression is rendered when the
        children of its owner have run.
        """
        other = self.tasks[other_id]
        if other is owner:
            return Seen("before" if opened else "itself", again=self._repeats(way))
        theirs = self.ways[other.id]
        depth = 0
        while depth < len(way) and depth < len(theirs) and _same(way[depth], theirs[depth]):
            depth += 1
        if depth == len(theirs):
            return Seen("around", other)
        if owner is not None and depth == len(way):
            return self._below(other, owner, theirs, depth, opened)
        container = theirs[depth].container
        again = self._repeats(theirs[: depth + 1])
        if other.id in self.off:
            return Seen("off", other)
        isolating = _isolating(theirs[depth + 1 :])
        if isolating is not None:
            return Seen("isolated", isolating)
        if depth == len(way):  # an expression of the flow that belongs to no branch
            return Seen("before")
        here, there = way[depth], theirs[depth]
        if here.branch != there.branch:
            rank, their_rank = _RANKS.get(here.branch, 0), _RANKS.get(there.branch, 0)
            if rank == their_rank:
                return Seen("other branch", container, again)
            return Seen("before") if rank > their_rank else Seen("later", container, again)
        if container is not None and container.type in _SIDE_BY_SIDE and here.branch == "tasks":
            return self._side_by_side(container, here, there, again)
        return Seen("before") if here.number > there.number else Seen("later", container, again)

    def _below(self, other: Task, owner: Task, theirs: Way, depth: int, opened: bool) -> Seen:
        if other.id in self.off:
            return Seen("off", other)
        if not opened:
            return Seen("inside", owner, self._repeats(theirs[:depth]))
        isolating = _isolating(theirs[depth + 1 :])
        return Seen("isolated", isolating) if isolating is not None else Seen("before")

    def _side_by_side(self, container: Task, here: Step, there: Step, again: bool) -> Seen:
        if container.type == f"{FLOW}Dag":
            children = container.branches["tasks"]
            own, their = children[here.number].id, children[there.number].id
            closure = self._closure(container)
            if their in closure[own]:
                return Seen("before")
            if own in closure[their]:
                return Seen("later", container, again)
        elif container.type == f"{FLOW}Parallel" and _one_at_a_time(container):
            return Seen("before") if here.number > there.number else Seen("later", container, again)
        return Seen("before") if _one_at_a_time(container) else Seen("together", container, again)

    def _closure(self, dag: Task) -> Mapping[str, frozenset[str]]:
        found = self._closures.get(dag.id)
        if found is None:
            found = self._closures[dag.id] = {
                child: frozenset(_reached(child, dag.depends_on)) for child in dag.depends_on
            }
        return found

    @staticmethod
    def _repeats(way: Way) -> bool:
        return any(step.container is not None and step.container.type in _REPEATING for step in way)


def _same(one: Step, other: Step) -> bool:
    return (
        one.number == other.number
        and one.branch == other.branch
        and one.container is other.container
    )


def _isolating(below: Way) -> Task | None:
    return next(
        (step.container for step in below if step.container and step.container.type == LOOP), None
    )


def _one_at_a_time(task: Task) -> bool:
    return getattr(task.spec, "concurrent", 0) == 1


def _reached(start: str, edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found
