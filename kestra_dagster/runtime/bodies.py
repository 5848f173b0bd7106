"""A flowable at work inside one step: its children's plan, and how to run one pass of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import TaskFailed
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Task
from kestra_dagster.plan.compile import compile_body
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.plan.model import Plan, Step
from kestra_dagster.runtime.host import ExecutionHost
from kestra_dagster.runtime.records import LoopPath, TaskRun
from kestra_dagster.runtime.running_task import RunningTask, rendered_spec
from kestra_dagster.runtime.task_run import StepRun

RunInner = Callable[[Step, StepRun, LoopPath], Sequence[str]]


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """What a body came to; `state` stands alone where the children's states do not decide."""

    outputs: Mapping[str, Any] | None = None
    state: str | None = None
    error: str | None = None


class Body:
    """One flowable at work. `run` is its task run, `context` what a task of its own would see."""

    def __init__(
        self, task: Task, at: StepRun, loop: LoopPath, run: TaskRun, run_inner: RunInner
    ) -> None:
        self.task = task
        self.at = at
        self.execution = at.execution
        self.loop = loop
        self.run = run
        self.context = RunningTask(task, at, run, at.execution.cancel)
        self._run_inner = run_inner

    def rendered(self) -> Any:
        """Return the flowable's properties with their templates rendered."""
        return rendered_spec(self.task, self.context)

    def plan(self, branch: str = "tasks") -> Plan:
        """Return the plan of the children of a branch."""
        return self.plan_of(self.task.branches.get(branch, ()))

    def plan_of(self, tasks: Sequence[Task]) -> Plan:
        """Return the plan of some of the children."""
        place = self.execution.ledger.places[self.task.id]
        return compile_body(self.execution.flow, tasks, place.key)

    def pass_through(self, plan: Plan, loop: LoopPath, at: StepRun | None = None) -> bool:
        """Run the children once; say whether none failed."""
        at = at or self.at
        board = run_plan(
            plan,
            lambda step: self._run_inner(step, at, loop),
            stop=lambda: self.execution.ending,
        )
        return board.done and not any(signal.name == "failure" for signal in board.emitted)

    def update(self, **changes: Any) -> None:
        """Change the flowable's own run."""
        self.run = self.execution.ledger.update(replace(self.run, **changes))

    def render(self, template: str, prop: str) -> str:
        """Render to text with the variables of now; raise TaskFailed with the place."""
        return self._rendered(expressions.render, template, prop)

    def render_value(self, value: Any, prop: str) -> Any:
        """Render every text of nested data; raise TaskFailed with the place."""
        return self._rendered(expressions.render_value, value, prop)

    def _rendered(self, render: Callable[..., Any], value: Any, prop: str) -> Any:
        execution = self.execution
        try:
            variables = execution.variables(self.task, self.run)
            return render(value, variables, ExecutionHost(execution, self.run))
        except ExpressionError as error:
            place = execution.place(self.task.id, prop)
            raise TaskFailed(f"cannot render `{prop}` ({place}): {error}") from error
