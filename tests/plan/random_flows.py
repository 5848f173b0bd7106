"""Random flows of nested flowables, and which of their steps fail, for property tests."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from kestra_dagster.flow.flowables import FLOWABLES
from kestra_dagster.flow.model import Flow, Mark, Source, Task, TaskOptions
from kestra_dagster.flow.task_types import RunnableSpec

CORE = "io.kestra.plugin.core."


class Nothing(RunnableSpec):
    """A task without properties."""


@dataclass(frozen=True)
class Case:
    flow: Flow
    failing: frozenset[str]
    """Ids of the runnable tasks that fail."""
    taken: dict[str, int]
    """For each If or Switch id, which of its branches is taken."""
    skipped: frozenset[str] = frozenset()
    """Ids of the tasks whose `runIf` does not hold."""


class _Draw:
    def __init__(self, draw, most: int) -> None:
        self.draw = draw
        self.left = most
        self.count = 0
        self.failing: set[str] = set()
        self.taken: dict[str, int] = {}
        self.skipped: set[str] = set()

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def task(self, depth: int) -> Task:
        self.left -= 1
        kinds = ["leaf"] * 3
        if depth < 4 and self.left > 0:
            kinds += ["Sequential", "Parallel", "Parallel", "If", "Switch", "AllowFailure", "Dag"]
        kind = self.draw(st.sampled_from(kinds))
        options = TaskOptions(
            disabled=self.draw(st.integers(0, 15)) == 0,
            allow_failure=self.draw(st.integers(0, 9)) == 0,
            run_if="some condition" if self.draw(st.integers(0, 5)) == 0 else None,
        )
        task_id = self.name("t" if kind == "leaf" else kind.lower())
        if options.run_if and self.draw(st.booleans()):
            self.skipped.add(task_id)
        if kind == "leaf":
            if self.draw(st.integers(0, 4)) == 0:
                self.failing.add(task_id)
            return _task(task_id, CORE + "debug.Return", Nothing(), options, {})
        return self.flowable(task_id, kind, options, depth)

    def flowable(self, task_id: str, kind: str, options: TaskOptions, depth: int) -> Task:
        branches = {"tasks": self.tasks(depth + 1, 1)}
        properties = {}
        if kind == "If":
            branches = {"then": self.tasks(depth + 1, 1)}
            if self.draw(st.booleans()):
                branches["else"] = self.tasks(depth + 1, 1)
            self.taken[task_id] = self.draw(st.integers(0, 1))
            properties = {"condition": "true"}
        if kind == "Switch":
            branches = {f"cases.{case}": self.tasks(depth + 1, 1) for case in "ab"}
            branches["defaults"] = self.tasks(depth + 1, 1)
            self.taken[task_id] = self.draw(st.integers(0, 2))
            properties = {"value": "a"}
        if kind == "Parallel":
            properties = {"concurrent": self.draw(st.sampled_from([0, 0, 1, 2]))}
        depends_on = {}
        if kind == "Dag":
            ids = [task.id for task in branches["tasks"]]
            for index, child in enumerate(ids[1:], start=1):
                count = self.draw(st.integers(0, index))
                depends_on[child] = tuple(ids[:count])
        for name in ("errors", "finally"):
            if self.draw(st.integers(0, 5)) == 0:
                branches[name] = self.tasks(depth + 1, 1)
        spec = FLOWABLES[f"{CORE}flow.{kind}"].model_validate(properties)
        return _task(task_id, f"{CORE}flow.{kind}", spec, options, branches, depends_on)

    def tasks(self, depth: int, least: int) -> tuple[Task, ...]:
        count = self.draw(st.integers(least, 3))
        return tuple(self.task(depth) for _ in range(count))


def _task(task_id, type_name, spec, options, branches, depends_on=None) -> Task:
    return Task(
        id=task_id,
        type=type_name,
        written_type=type_name,
        spec=spec,
        properties={},
        options=options,
        path=(),
        mark=Mark(1, 1),
        branches=branches,
        depends_on=depends_on or {},
    )


@st.composite
def cases(draw, most: int = 14) -> Case:
    """Draw a flow with what fails and what is taken in it."""
    made = _Draw(draw, most)
    tasks = made.tasks(0, 1)
    errors = made.tasks(3, 1) if draw(st.integers(0, 2)) == 0 else ()
    final = made.tasks(3, 1) if draw(st.integers(0, 2)) == 0 else ()
    after = made.tasks(3, 1) if draw(st.integers(0, 3)) == 0 else ()
    flow = Flow(
        id="random",
        namespace="io.kestra.tests",
        source=Source("random.yaml", "", {}),
        tasks=tasks,
        errors=errors,
        finally_=final,
        after_execution=after,
    )
    return Case(flow, frozenset(made.failing), made.taken, frozenset(made.skipped))
