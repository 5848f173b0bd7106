"""The ledger of an execution: every task run, what it published, and the states that follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from kestra_dagster.flow.model import Task
from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.places import Place, places_below
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.records import TERMINAL, LoopPath, TaskRun, run_id, worst
from kestra_dagster.runtime.records_json import from_line, to_line

KEPT = frozenset(("SUCCESS", "WARNING", "SKIPPED"))
"""States of a run that a continued execution does not run again."""
UNFINISHED = frozenset(("CREATED", "RUNNING", "RETRYING", "RESTARTED"))
"""States of children that make a flowable RUNNING."""
UNCOUNTED = ("errors", "afterExecution", "listeners")
"""Branches whose states never reach their parent."""


class Ledger:
    """Record task runs; thread-safe.

    Only what ran by itself is written to the journal. A flowable's run begins with its first child
    and its state follows from its children, plus what was published for it (a condition, a count).
    `follow` is told of every run that changes after it began.
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        journal: Journal,
        follow: Callable[[TaskRun], None] = lambda _: None,
    ) -> None:
        self.places = dict(places)
        self._journal = journal
        self._follow = follow
        self._lock = threading.RLock()
        self._runs: dict[str, TaskRun] = {}
        self._children: dict[str | None, list[str]] = {}
        self._own_state: dict[str, str] = {}
        self._alone: set[str] = set()
        self._adopted: set[str] = set()
        self._still = True
        """Whether nothing has begun yet: what was taken over is as it says."""
        self._outputs: dict[str, Any] = {}
        self._last = 0

    def adopt(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take over task runs that another run of this execution recorded."""
        with self._lock:
            for line in lines:
                run = from_line(line)
                if run is None or run.task_id not in self.places:
                    continue
                self._ancestors(run.task_id, run.loop, run.started, run.sequence)
                self._keep(run)
                self._adopted.add(run.id)
                if line.get("own"):
                    self._own_state[run.id] = run.state
                if line.get("own") == "alone":
                    self._alone.add(run.id)

    def adopted(self, task_id: str, loop: LoopPath) -> TaskRun | None:
        """Return the run of a task that was taken over and has not begun anew."""
        run = self.run_of(task_id, loop)
        return run if run is not None and run.id in self._adopted else None

    def begin(self, task: Task, loop: LoopPath, iteration: int | None = None) -> TaskRun:
        """Open the run of a task, and those of the flowables around it that have none yet."""
        now = datetime.now(timezone.utc)
        with self._lock:
            self._still = False
            self._ancestors(task.id, loop, now, None)
            run = self._new(task.id, loop, now, None)
            if iteration is not None:
                run = replace(run, iteration=iteration)
            earlier = self.adopted(task.id, loop)
            if earlier is not None:
                run = replace(run, sequence=earlier.sequence, history=earlier.history)
                if task.is_flowable:
                    run = replace(run, outputs=earlier.outputs)
                self._adopted.discard(run.id)
                self._own_state.pop(run.id, None)
                self._alone.discard(run.id)
                self._keep(replace(earlier, state="RESTARTED"))
            return self._keep(run)

    def update(self, run: TaskRun) -> TaskRun:
        """Replace a run that is still going on."""
        with self._lock:
            run = self._keep(run)
        self._follow(run)
        return run

    def end(
        self, step_key: str, run: TaskRun, *, own_state: bool = False, alone: bool = False
    ) -> TaskRun:
        """Close a run and write it to the journal.

        `own_state` says that a flowable's state does not follow from its children alone (its
        condition failed, it was skipped, its loop broke off), `alone` that theirs do not count.
        """
        with self._lock:
            run = self._keep(replace(run, ended=run.ended or datetime.now(timezone.utc)))
            if own_state:
                self._own_state[run.id] = run.state
            if alone:
                self._alone.add(run.id)
        line = to_line(run)
        if own_state:
            line["own"] = "alone" if alone else True
        self._journal.append(step_key, line)
        self._follow(run)
        return run

    def forget_waiting(self) -> None:
        """Drop flowables that were taken over to run again and have not."""
        with self._lock:
            for run in list(self._runs.values()):
                waits = run.id in self._adopted and run.state == "RUNNING"
                flowable = self.places[run.task_id].task.is_flowable
                if waits and flowable and not self._children.get(run.id):
                    self._drop(run.id)

    def forget_iteration(self, task: Task, loop: LoopPath) -> None:
        """Drop the runs below a task, as LoopUntil does with those of its earlier passes."""
        with self._lock:
            for child in list(self._children.get(run_id(self.places[task.id].key, loop), ())):
                self._drop(child)

    def run_of(self, task_id: str, loop: LoopPath) -> TaskRun | None:
        """Return the run of a task in the iteration `loop`, if it has begun."""
        place = self.places[task_id]
        return self._runs.get(run_id(place.key, self._own_loop(place, loop)))

    def outputs(self) -> Mapping[str, Any]:
        """Return the live tree of outputs: task id, then loop values, then the outputs."""
        return self._outputs

    def state(self, run: TaskRun) -> str:
        """Return the state of a run; a flowable's is the worst of its direct children's."""
        place = self.places[run.task_id]
        if not place.task.is_flowable:
            return run.state
        with self._lock:
            own = self._own_state.get(run.id)
            if own == "SKIPPED":
                return own
            if own is not None and run.id in self._alone:
                return forgiven(place.task, own)
            states = [own] if own else []
            if run.state == "PAUSED":
                states.append(run.state)
            states += self._child_states(run)
            if run.id in self._adopted and run.state in UNFINISHED and (self._still or not states):
                return run.state
            state = worst(states)
            unfinished = any(one in UNFINISHED for one in states)
        if unfinished and state not in ("KILLED", "FAILED"):
            return "RUNNING"
        return forgiven(place.task, state)

    def _child_states(self, run: TaskRun) -> list[str]:
        children = (self._runs[child] for child in self._children.get(run.id, ()))
        return [
            self.state(child)
            for child in children
            if self.places[child.task_id].branch not in UNCOUNTED
        ]

    def children(self, run: TaskRun) -> list[TaskRun]:
        """Return the runs directly below a flowable's run, in order of creation."""
        with self._lock:
            return [self._runs[key] for key in self._children.get(run.id, ())]

    def children_state(self, run: TaskRun) -> str:
        """Return the worst state of a flowable's children, which nothing has forgiven yet."""
        with self._lock:
            return worst(self._child_states(run))

    def iteration_state(self, task: Task, loop: LoopPath) -> str:
        """Return the worst state of a loop's direct children in one iteration."""
        with self._lock:
            found = (self.run_of(child.id, loop) for child in task.branches.get("tasks", ()))
            return worst([self.state(run) for run in found if run is not None])

    def plant(self, parent: Task, tasks: Iterable[Task]) -> None:
        """Add tasks below a flowable that its flow does not name (those of a template)."""
        with self._lock:
            self.places.update(places_below(self.places[parent.id], tasks))

    def task_runs(self) -> tuple[TaskRun, ...]:
        """Return every run in order of creation, flowables settled from their children."""
        with self._lock:
            settled = [self._settled(run) for run in self._runs.values()]
        depth = {run.id: len(self.places[run.task_id].ancestors) for run in settled}
        return tuple(sorted(settled, key=lambda run: (run.sequence, depth[run.id])))

    def final_state(self) -> str:
        """Return the state of the execution from its root task runs."""
        with self._lock:
            roots = [self._runs[key] for key in self._children.get(None, ())]
        return worst(
            [self.state(run) for run in roots if self.places[run.task_id].branch not in UNCOUNTED]
        )

    def failed(self) -> Iterator[TaskRun]:
        """Yield the runs that failed by themselves, handlers aside, oldest first."""
        for run in self.task_runs():
            place = self.places[run.task_id]
            handler = any(step.branch in UNCOUNTED for step in (place, *self._around(place)))
            if run.state in ("FAILED", "KILLED") and run.error is not None and not handler:
                yield run

    def is_forgiven(self, run: TaskRun) -> bool:
        """Say whether a failure of a run leaves the execution's state alone, but for a warning."""
        place = self.places[run.task_id]
        around = (place, *self._around(place))
        if any(one.branch in ("afterExecution", "listeners") for one in around):
            return True
        tasks = (*place.ancestors, place.task)
        return any(forgiven(task, "FAILED") != "FAILED" for task in tasks)

    def _around(self, place: Place) -> Iterator[Place]:
        for ancestor in place.ancestors:
            yield self.places[ancestor.id]

    def _settled(self, run: TaskRun) -> TaskRun:
        if not self.places[run.task_id].task.is_flowable:
            return run
        children = [self._settled(self._runs[key]) for key in self._children.get(run.id, ())]
        ends = [child.ended for child in children if child.ended]
        ended = max([*ends, run.ended or run.started], default=run.started)
        return replace(run, state=self.state(run), ended=ended)

    def _new(
        self, task_id: str, loop: LoopPath, started: datetime, sequence: int | None
    ) -> TaskRun:
        place = self.places[task_id]
        own = self._own_loop(place, loop)
        parent = place.parent
        parent_loop = self._own_loop(self.places[parent.id], loop) if parent else ()
        item = own[-1] if place.has_value and own else None
        return TaskRun(
            id=run_id(place.key, own),
            task_id=task_id,
            state="RUNNING",
            started=started,
            sequence=sequence if sequence is not None else self._tick(),
            parent_id=run_id(self.places[parent.id].key, parent_loop) if parent else None,
            value=item.value if item else None,
            iteration=item.number if item else None,
            loop=own,
        )

    def _own_loop(self, place: Place, loop: LoopPath) -> LoopPath:
        around = {task.id for task in place.ancestors}
        return tuple(item for item in loop if item.task_id in around)

    def _ancestors(
        self, task_id: str, loop: LoopPath, started: datetime, sequence: int | None
    ) -> None:
        for ancestor in self.places[task_id].ancestors:
            place = self.places[ancestor.id]
            if run_id(place.key, self._own_loop(place, loop)) not in self._runs:
                self._keep(self._new(ancestor.id, loop, started, sequence))

    def _keep(self, run: TaskRun) -> TaskRun:
        known = self._runs.get(run.id)
        if known is None:
            self._children.setdefault(run.parent_id, []).append(run.id)
        states = known.states if known is not None else run.states
        if not states or states[-1][0] != run.state:
            now = datetime.now(timezone.utc)
            states = (*(states or (("CREATED", run.started),)), (run.state, now))
        run = replace(run, states=states)
        self._runs[run.id] = run
        if run.outputs is not None:
            self._publish(run)
        return run

    def _publish(self, run: TaskRun) -> None:
        tree = self._outputs
        for key in (run.task_id, *run.values)[:-1]:
            tree = tree.setdefault(key, {})
        tree[(run.task_id, *run.values)[-1]] = run.outputs

    def _drop(self, key: str) -> None:
        for child in self._children.pop(key, ()):
            self._drop(child)
        run = self._runs.pop(key)
        self._own_state.pop(key, None)
        siblings = self._children.get(run.parent_id)
        if siblings and key in siblings:
            siblings.remove(key)

    def _tick(self) -> int:
        self._last = max(self._last + 1, time.time_ns())
        return self._last


def forgiven(task: Task, state: str) -> str:
    """Apply `allowFailure` and `allowWarning` to a final state."""
    allowed = task.options.allow_failure or task.type == CORE_FLOW + "AllowFailure"
    if state == "FAILED" and allowed:
        state = "WARNING"
    if state == "WARNING" and task.options.allow_warning:
        state = "SUCCESS"
    return state


def is_terminal(state: str) -> bool:
    """Say whether a state is final."""
    return state in TERMINAL
