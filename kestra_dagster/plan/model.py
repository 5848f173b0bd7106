"""The plan of a flow: steps, the gates between them, and the groups that fold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from kestra_dagster.flow.model import Flow, Task


class Signal(NamedTuple):
    """An output of a step: emitted or not when the step ran, never when it was skipped."""

    step: str
    name: str


Term = frozenset[Signal]
"""An OR: decided when every signal in it is decided, open if any was emitted."""

Gate = tuple[Term, ...]
"""An AND of ORs: open when every term is open, closed when any decided term is not; () is open."""

OPEN: Gate = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """At most `limit` members of `group` are in progress at once.

    A member (one child of a Parallel with `concurrent`) is in progress from the start of its first
    step until its last step is decided.
    """

    group: str
    member: str
    limit: int


class LoopItem(NamedTuple):
    """The iteration of one enclosing loop: which loop, the value as text, the number from 0.

    Of a Loop (2.x) `value` is the number, since values may come twice; `item` and `key` are what
    its tasks see, and are not recorded.
    """

    task_id: str
    value: str
    number: int
    item: Any = None
    key: str | None = None


LoopPath = tuple[LoopItem, ...]
"""The iterations a task runs in, outermost loop first."""


StepKind = Literal["task", "choice", "body", "join", "end", "listener", "verdict"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to run; `kind` says what.

    - task: a runnable task
    - choice: the condition of an If or Switch, or the `runIf` of a flowable; emits the branch taken
    - body: a flowable whose children are known only at run time, run by the in-step interpreter
    - join: nothing; emits `success`, so that an AND becomes one signal
    - end: settles the execution (state, flow outputs), raises if it failed and nothing follows
    - listener: the conditions of the listener number `index` of the flow
    - verdict: after `afterExecution` and the listeners, raises if the execution failed

    `key` is the path of task ids joined by "/", unique in the flow. `signals` are the names it may
    emit. `listened` says whether anything waits for its `failure`: if not, a failure is raised.
    `loop` are the iterations of unrolled loops it stands in.
    """

    key: str
    kind: StepKind
    entry: Gate
    signals: tuple[str, ...]
    task: Task | None = None
    listened: bool = False
    slots: tuple[Slot, ...] = ()
    loop: LoopPath = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A flowable, or an iteration of an unrolled loop: a nested graph in Dagster, nothing else."""

    key: str
    task: Task
    members: tuple[Step | Group, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a flow (or of a loop's body), nested as the flowables nest."""

    flow: Flow
    members: tuple[Step | Group, ...]

    def steps(self) -> Iterator[Step]:
        """Yield every step in source order."""
        yield from _steps(self.members)


def _steps(members: tuple[Step | Group, ...]) -> Iterator[Step]:
    for member in members:
        if isinstance(member, Group):
            yield from _steps(member.members)
        else:
            yield member
