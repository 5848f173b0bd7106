"""Run one runnable task: look at `runIf`, render, try, retry, record."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import Cancelled, KestraDagsterError, TaskFailed, TaskMisconfigured
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Retry, Task
from kestra_dagster.flow.properties import parse_duration
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.context import LogLine, Warned
from kestra_dagster.runtime.events import Listener, TaskEnded, TaskRetrying, TaskStarted
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.journal import StoreUnwritable
from kestra_dagster.runtime.ledger import forgiven
from kestra_dagster.runtime.records import Attempt, LoopPath, TaskRun
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.retries import next_delay
from kestra_dagster.runtime.running_task import RunningTask, rendered_spec
from kestra_dagster.runtime.subflows import run_subflow

STOP_GRACE = 2.0
"""Seconds a timed-out task has to notice before its thread is left behind."""


@dataclass(frozen=True, slots=True)
class StepRun:
    """The step at work: where its lines go, who is told, the folder its tasks share (if any)."""

    execution: Execution
    key: str
    tell: Listener | None = None
    shared_folder: Path | None = None

    def emit(self, event: Any) -> None:
        """Tell the step's own listener and the execution's."""
        if self.tell:
            self.tell(event)
        self.execution.tell(event)

    def log(self, run: TaskRun, level: str, message: str, *, failure: bool = False) -> None:
        """Write a masked line to the task's log."""
        masked = self.execution.masker.text(message)
        line = LogLine(
            datetime.now(timezone.utc), level, masked, run.task_id, run.id, run.value, run.attempts
        )
        self.execution.log(line, self.key, self.tell, failure=failure)


def run_task(task: Task, at: StepRun, loop: LoopPath) -> TaskRun:
    """Run a task to its final state and return its run; a failure is a state, not an exception."""
    execution = at.execution
    run = execution.ledger.begin(task, loop)
    at.emit(TaskStarted(run, run.started))
    try:
        if skipped_by_run_if(task, at, run):
            return finish(at, replace(run, state="SKIPPED"))
    except ExpressionError as error:
        return finish(at, _failed(task, at, run, "runIf", error))
    retry = retry_of(task, execution)
    while True:
        started = datetime.now(timezone.utc)
        outcome = _attempt(task, at, run)
        run = _after(run, outcome, started)
        if outcome.state != "FAILED" or execution.cancel.cancelled:
            break
        at.log(run, "ERROR", outcome.error or "failed", failure=True)
        delay = None
        if retry and not isinstance(outcome.cause, (TaskMisconfigured, StoreUnwritable)):
            delay = _next_delay(retry, run, execution)
        if delay is None or execution.ending:
            break
        if retry and retry.behavior == "CREATE_NEW_EXECUTION":
            execution.retried(delay)
            return finish(at, replace(run, state="RETRIED"))
        run = execution.ledger.update(replace(run, state="RETRYING"))
        at.emit(TaskRetrying(run, run.error or "", delay, datetime.now(timezone.utc)))
        try:
            execution.cancel.sleep(delay)
        except Cancelled:
            why = "stopped while waiting for the next attempt"
            run = replace(run, state=execution.killed_as, error=why)
            break
        run = execution.ledger.update(replace(run, state="RUNNING", error=None))
    if run.state == "SUCCESS" and retry and retry.warning_on_retry and run.attempts > 1:
        run = replace(run, state="WARNING")
    state = forgiven(task, run.state)
    return finish(at, replace(run, state=state))


def _next_delay(retry: Retry, run: TaskRun, execution: Execution) -> float | None:
    now = datetime.now(timezone.utc)
    if retry.behavior == "CREATE_NEW_EXECUTION":
        return next_delay(retry, execution.attempt, execution.first_started, now)
    return next_delay(retry, run.attempts, run.started, now)


def finish(at: StepRun, run: TaskRun, *, own_state: bool = False, alone: bool = False) -> TaskRun:
    """Record a final state and tell it; outputs that cannot be kept fail the run."""
    try:
        run = at.execution.ledger.end(at.key, run, own_state=own_state, alone=alone)
    except StoreUnwritable as error:
        run = replace(run, state="FAILED", error=str(error), outputs=None)
        run = replace(run, ended=datetime.now(timezone.utc))
        at.execution.ledger.update(run)
    shown = replace(run, state=at.execution.ledger.state(run))
    at.emit(TaskEnded(shown, run.ended or datetime.now(timezone.utc)))
    return run


def skipped_by_run_if(task: Task, at: StepRun, run: TaskRun) -> bool:
    """Say whether the task's `runIf` renders to something falsy; raise ExpressionError."""
    condition = task.options.run_if
    if condition is None:
        return False
    from kestra_dagster.runtime.host import ExecutionHost

    execution = at.execution
    variables = execution.variables(task, run)
    rendered = expressions.render(str(condition), variables, ExecutionHost(execution, run))
    return not expressions.truthy(rendered)


def retry_of(task: Task, execution: Execution) -> Retry | None:
    """Return the retry that counts: the task's, the nearest ancestor's, or the flow's."""
    place = execution.ledger.places[task.id]
    for candidate in (task, *reversed(place.ancestors)):
        if candidate.options.retry:
            return candidate.options.retry
    return execution.flow.retry


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: str
    outputs: Any = None
    error: str | None = None
    cause: BaseException | None = None
    log_file: str | None = None


def _after(run: TaskRun, outcome: _Outcome, started: datetime) -> TaskRun:
    attempt = Attempt(outcome.state, started, datetime.now(timezone.utc), outcome.error)
    return replace(
        run,
        state=outcome.state,
        outputs=jsonable(outcome.outputs) if outcome.outputs is not None else None,
        error=outcome.error,
        history=(*run.history, attempt),
        log_file=outcome.log_file or run.log_file,
    )


def _attempt(task: Task, at: StepRun, run: TaskRun) -> _Outcome:
    token = CancelToken(at.execution.cancel)
    context = RunningTask(task, at, run, token)
    try:
        outcome = _tried(task, at.execution, context, token)
        return replace(outcome, log_file=context.store_log())
    finally:
        token.close()
        context.close()


def _tried(task: Task, execution: Execution, context: RunningTask, token: CancelToken) -> _Outcome:
    try:
        timeout = rendered_timeout(task, context)
        state, outputs = _run_within(timeout, task, context, token)
        return _Outcome(state, outputs)
    except Cancelled as error:
        return _Outcome(execution.killed_as, error=str(error), cause=error)
    except TaskFailed as error:
        return _Outcome("FAILED", error.outputs, execution.masker.text(str(error)), error)
    except KestraDagsterError as error:
        return _Outcome("FAILED", error=execution.masker.text(str(error)), cause=error)
    except Exception as error:
        message = execution.masker.text(f"{type(error).__name__}: {error}")
        return _Outcome("FAILED", error=message, cause=error)


def rendered_timeout(task: Task, context: RunningTask) -> timedelta | None:
    """Return a task's `timeout`; raise TaskMisconfigured if it renders to something else."""
    timeout = task.options.timeout
    if not isinstance(timeout, str):
        return timeout
    rendered = context.render(timeout)
    try:
        return parse_duration(rendered)
    except ValueError as error:
        raise TaskMisconfigured(f"`timeout` {error}") from None


def _perform(task: Task, context: RunningTask) -> tuple[str, Any]:
    """Do a task's work once; return its state and outputs."""
    if task.spec.kind == "executable":
        return run_subflow(rendered_spec(task, context), context)
    outputs = context.perform(task)
    return ("WARNING" if isinstance(outputs, Warned) else "SUCCESS"), outputs


def _run_within(
    timeout: timedelta | None, task: Task, context: RunningTask, token: CancelToken
) -> tuple[str, Any]:
    """Run an attempt, on a thread of its own when it may not end by itself in time."""
    blocks = isinstance(task.spec, RunnableSpec) and task.spec.blocks
    if timeout is None and not blocks:
        return _perform(task, context)
    result: list[tuple[str, Any]] = []
    failure: list[BaseException] = []
    woken = threading.Event()

    def work() -> None:
        try:
            result.append(_perform(task, context))
        except BaseException as error:  # raised again on the thread that waits
            failure.append(error)
        finally:
            woken.set()

    forget = token.on_cancel(woken.set) if blocks else lambda: None
    thread = threading.Thread(target=work, name=f"{task.id} (attempt)", daemon=True)
    thread.start()
    in_time = woken.wait(None if timeout is None else timeout.total_seconds())
    forget()
    if timeout is not None and not in_time:
        reason = f"Timeout after {timeout.total_seconds():g} s"
        context.log.warn(f"{reason}: the task is told to stop")
        token.cancel(reason)
        thread.join(STOP_GRACE)
        raise TaskFailed(reason, hint="raise `timeout`, or find out what takes so long")
    if not (result or failure):
        thread.join(STOP_GRACE)
    if failure:
        raise failure[0]
    if not result:
        raise Cancelled(token.reason or "cancelled")
    return result[0]


def _failed(task: Task, at: StepRun, run: TaskRun, prop: str, error: KestraDagsterError) -> TaskRun:
    place = at.execution.place(task.id, prop)
    message = at.execution.masker.text(f"cannot render `{prop}` ({place}): {error}")
    at.log(run, "ERROR", message, failure=True)
    run = replace(run, state="FAILED", error=message)
    return replace(run, state=forgiven(task, "FAILED"))
