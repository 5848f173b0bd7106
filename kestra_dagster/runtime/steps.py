"""Run one step of a plan, whatever its kind: the same for Dagster's ops and the interpreter."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TaskFailed
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Task
from kestra_dagster.flow.properties import scalar_text
from kestra_dagster.plan.compile import CORE_FLOW, EXIT, branch_signals
from kestra_dagster.plan.model import Step
from kestra_dagster.runtime.body_step import run_body
from kestra_dagster.runtime.events import TaskStarted
from kestra_dagster.runtime.host import ExecutionHost
from kestra_dagster.runtime.records import LoopPath, TaskRun
from kestra_dagster.runtime.task_run import StepRun, finish, run_task, skipped_by_run_if


class ExecutionFailed(KestraDagsterError):
    """The execution ended in a state that is not a success."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step emitted, the run it made, and the error if it failed."""

    signals: tuple[str, ...]
    run: TaskRun | None = None
    error: BaseException | None = None


def run_step(step: Step, at: StepRun) -> Outcome:
    """Run a step; what it returned is kept when this returns.

    A step of an execution that is ending emits nothing.
    """
    outcome = _run_step(step, at, ())
    at.execution.journal.settle()
    return outcome


def _run_step(step: Step, at: StepRun, loop: LoopPath) -> Outcome:
    execution = at.execution
    loop = (*loop, *step.loop)
    if step.kind == "join":
        return Outcome(("success",))
    if step.kind == "end":
        return _end(step, at)
    if step.kind == "listener":
        return _listen(step, at)
    if step.kind == "verdict":
        return _verdict(at)
    if execution.ending and not execution.ended:
        refused = execution.refused and execution.exit_state == "FAILED"
        return Outcome((), error=ExecutionFailed(execution.failure()) if refused else None)
    task = step.task
    assert task is not None
    kept = execution.kept(task, loop)
    if kept is not None and kept.state in ("FAILED", "KILLED"):
        return _of_run(step, kept, at)
    if kept is not None:
        return Outcome((_kept_signal(step, task, kept),), kept)
    if step.kind == "choice":
        return _choice(step, task, at, loop)
    if step.kind == "body":
        return _of_run(step, run_body(step, task, at, loop, _emitted), at)
    return _of_run(step, run_task(task, at, loop), at)


def _kept_signal(step: Step, task: Task, run: TaskRun) -> str:
    """Return what a step emitted when it ended well."""
    if step.kind != "choice":
        return "success"
    if run.state == "SKIPPED":
        return "skip" if "skip" in step.signals else "success"
    outputs = run.outputs or {}
    if task.type == CORE_FLOW + "If":
        return branch_signals(task)["then" if outputs.get("evaluationResult") else "else"]
    if task.type == CORE_FLOW + "Switch":
        branch = "defaults" if outputs.get("defaults") else f"cases.{outputs.get('value')}"
        return branch_signals(task)[branch]
    return "run" if "run" in step.signals else "success"


def _emitted(step: Step, at: StepRun, loop: LoopPath) -> tuple[str, ...]:
    return _run_step(step, at, loop).signals


def _of_run(step: Step, run: TaskRun, at: StepRun) -> Outcome:
    execution = at.execution
    if run.state in ("FAILED", "KILLED"):
        error = TaskFailed(run.error or f"task `{run.task_id}` ended {run.state}")
        return Outcome(("failure",) if run.state == "FAILED" else (), run, error)
    if run.state == "RETRIED":
        why = f"{run.error}; a new execution follows in {execution.retry_in:g} s"
        return Outcome((), run, TaskFailed(why))
    if execution.exit_state is not None and not execution.ended:
        return Outcome((EXIT,) if EXIT in step.signals else (), run)
    return Outcome(("success",), run)


def _choice(step: Step, task: Task, at: StepRun, loop: LoopPath) -> Outcome:
    """Decide which branch of a flowable runs; its run is closed only if no branch will."""
    execution = at.execution
    run = execution.ledger.begin(task, loop)
    at.emit(TaskStarted(run, run.started))
    try:
        if skipped_by_run_if(task, at, run):
            run = finish(at, replace(run, state="SKIPPED"), own_state=True)
            return Outcome(("skip",) if "skip" in step.signals else ("success",), run)
        if task.type == CORE_FLOW + "If":
            signal, outputs = _decide_if(task, at, run)
        elif task.type == CORE_FLOW + "Switch":
            signal, outputs = _decide_switch(task, at, run)
        else:
            signal, outputs = ("run" if "run" in step.signals else "success"), None
    except KestraDagsterError as error:
        message = f"{execution.place(task.id)}: {execution.masker.text(str(error))}"
        at.log(run, "ERROR", message, failure=True)
        run = finish(at, replace(run, state="FAILED", error=message), own_state=True)
        return Outcome(("failure",), run, TaskFailed(message))
    if outputs is not None:
        run = execution.ledger.end(at.key, replace(run, outputs=outputs))
    return Outcome((signal,), run)


def _decide_if(task: Task, at: StepRun, run: TaskRun) -> tuple[str, dict[str, object]]:
    taken = expressions.truthy(_rendered("condition", task, at, run))
    return branch_signals(task)["then" if taken else "else"], {"evaluationResult": taken}


def _decide_switch(task: Task, at: StepRun, run: TaskRun) -> tuple[str, dict[str, object]]:
    value = _rendered("value", task, at, run)
    branch = f"cases.{value}"
    matched = branch in task.branches
    if not matched and not task.branches.get("defaults"):
        known = ", ".join(f"`{name[6:]}`" for name in task.branches if name.startswith("cases."))
        raise TaskFailed(
            f"no case of `{task.id}` matches `{value}` and there are no `defaults` (cases: {known})"
        )
    outputs: dict[str, object] = {"value": value, "defaults": not matched}
    return branch_signals(task)[branch if matched else "defaults"], outputs


def _rendered(prop: str, task: Task, at: StepRun, run: TaskRun) -> str:
    execution = at.execution
    template = scalar_text(task.properties.get(prop))
    try:
        variables = execution.variables(task, run)
        return expressions.render(template, variables, ExecutionHost(execution, run))
    except ExpressionError as error:
        place = execution.place(task.id, prop)
        raise TaskFailed(f"cannot render `{prop}` ({place}): {error}") from error


def _end(step: Step, at: StepRun) -> Outcome:
    execution = at.execution
    state = execution.settle()
    more = execution.flow.after_execution or execution.flow.listeners
    if state in ("FAILED", "KILLED") and not more:
        return Outcome(("success",), error=ExecutionFailed(execution.failure()))
    return Outcome(("success",))


def _listen(step: Step, at: StepRun) -> Outcome:
    from kestra_dagster.triggers.conditions import ConditionContext, ExecutionFacts, all_hold

    execution = at.execution
    facts = ExecutionFacts(
        id=execution.id,
        namespace=execution.flow.namespace,
        flow_id=execution.flow.id,
        state=execution.state,
        labels=execution.labels,
        outputs=execution.outputs,
        attempts=tuple(
            tuple(attempt.state for attempt in run.history) for run in execution.ledger.task_runs()
        ),
        revision=execution.flow.revision,
    )
    context = ConditionContext(
        execution.flow.namespace,
        execution.flow.id,
        execution.variables(),
        ExecutionHost(execution),
        facts,
    )
    try:
        heard = all_hold(execution.flow.listeners[step.index].conditions, context)
    except KestraDagsterError as error:
        execution.note("ERROR", f"the conditions of a listener cannot be evaluated: {error}")
        heard = False
    return Outcome(("run" if heard else "skip",))


def _verdict(at: StepRun) -> Outcome:
    if at.execution.state in ("FAILED", "KILLED"):
        return Outcome(("success",), error=ExecutionFailed(at.execution.failure()))
    return Outcome(("success",))
