"""The step of a flowable whose children are known only at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kestra_dagster.errors import Cancelled, KestraDagsterError
from kestra_dagster.flow.model import Task
from kestra_dagster.plan.compile import CORE_FLOW
from kestra_dagster.plan.model import Step
from kestra_dagster.runtime.bodies import Body, BodyEnd, RunInner
from kestra_dagster.runtime.events import TaskStarted
from kestra_dagster.runtime.for_each_item import for_each_item
from kestra_dagster.runtime.loop_task import loop as loop_2
from kestra_dagster.runtime.loops import each_parallel, for_each, loop_until
from kestra_dagster.runtime.pauses import pause
from kestra_dagster.runtime.records import LoopPath, TaskRun
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.task_run import StepRun, finish, skipped_by_run_if
from kestra_dagster.runtime.templates import template
from kestra_dagster.runtime.working_directory import working_directory

_BODIES: Mapping[str, Callable[[Body], BodyEnd]] = {
    "EachParallel": each_parallel,
    "EachSequential": for_each,
    "ForEach": for_each,
    "ForEachItem": for_each_item,
    "Loop": loop_2,
    "LoopUntil": loop_until,
    "Pause": pause,
    "Template": template,
    "WorkingDirectory": working_directory,
}


def run_body(step: Step, task: Task, at: StepRun, loop: LoopPath, run_inner: RunInner) -> TaskRun:
    """Run a flowable's children inside this step and return its run."""
    execution = at.execution
    run = execution.ledger.begin(task, loop)
    at.emit(TaskStarted(run, run.started))
    body = Body(task, at, loop, run, run_inner)
    try:
        if skipped_by_run_if(task, at, run):
            return finish(at, replace(run, state="SKIPPED"), own_state=True)
        end = _BODIES[task.type.removeprefix(CORE_FLOW)](body)
    except Cancelled as error:
        return finish(at, replace(body.run, state="KILLED", error=str(error)), own_state=True)
    except Exception as error:
        text = (
            str(error)
            if isinstance(error, KestraDagsterError)
            else f"{type(error).__name__}: {error}"
        )
        message = execution.masker.text(f"{text} ({execution.place(task.id)})")
        at.log(run, "ERROR", message)
        return finish(at, replace(body.run, state="FAILED", error=message), own_state=True)
    finally:
        body.context.close()
    return _ended(body, end, at)


def _ended(body: Body, end: BodyEnd, at: StepRun) -> TaskRun:
    execution = at.execution
    run = body.run
    if end.outputs is not None:
        run = replace(run, outputs=jsonable(end.outputs))
    alone = end.state is not None
    # Not forgiven by `allowFailure` here: its handlers, outside of this step, have to run first.
    run = replace(run, state=end.state or execution.ledger.children_state(run))
    if execution.cancel.cancelled:
        run = replace(run, state="KILLED", error=execution.cancel.reason)
    elif run.state in ("FAILED", "KILLED"):
        run = replace(run, error=end.error or _first_error(at, run))
    return finish(at, run, own_state=alone, alone=alone)


def _first_error(at: StepRun, run: TaskRun) -> str:
    for failed in at.execution.ledger.failed():
        if failed.loop[: len(run.loop)] == run.loop and failed.id != run.id:
            where = f"`{failed.task_id}`" + (f" of value `{failed.value}`" if failed.value else "")
            return f"{where} failed: {failed.error}"
    return f"a task of `{run.task_id}` failed"
