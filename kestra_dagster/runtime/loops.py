"""Flowables that run inside one step: loops, LoopUntil and WorkingDirectory."""

from __future__ import annotations

import json
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TaskFailed
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Task
from kestra_dagster.plan.compile import CORE_FLOW, compile_body
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.plan.model import Plan, Step
from kestra_dagster.runtime.events import TaskStarted
from kestra_dagster.runtime.host import ExecutionHost
from kestra_dagster.runtime.records import LoopItem, LoopPath, TaskRun
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.task_run import StepRun, finish, skipped_by_run_if

RunInner = Callable[[Step, StepRun, LoopPath], Sequence[str]]
MOST_THREADS = 32
"""Iterations at work at once where Kestra says `no limit`."""


def run_body(step: Step, task: Task, at: StepRun, loop: LoopPath, run_inner: RunInner) -> TaskRun:
    """Run a flowable's children inside this step and return its run."""
    run = at.execution.ledger.begin(task, loop)
    at.emit(TaskStarted(run, run.started))
    try:
        if skipped_by_run_if(task, at, run):
            return finish(at, replace(run, state="SKIPPED"), own_state=True)
        body = _Body(task, at, loop, run_inner)
        outputs = _BODIES[task.type.removeprefix(CORE_FLOW)](body, run)
    except KestraDagsterError as error:
        message = at.execution.masker.text(f"{error} ({at.execution.place(task.id)})")
        at.log(run, "ERROR", message)
        return finish(at, replace(run, state="FAILED", error=message), own_state=True)
    run = replace(run, outputs=jsonable(outputs) if outputs is not None else None)
    run = replace(run, state=at.execution.ledger.state(run))
    if at.execution.cancel.cancelled:
        run = replace(run, state="KILLED", error=at.execution.cancel.reason)
    elif run.state == "FAILED":
        run = replace(run, error=_first_error(at, run))
    return finish(at, run)


def _first_error(at: StepRun, run: TaskRun) -> str:
    for failed in at.execution.ledger.failed():
        if failed.loop[: len(run.loop)] == run.loop and failed.id != run.id:
            where = f"`{failed.task_id}`" + (f" of value `{failed.value}`" if failed.value else "")
            return f"{where} failed: {failed.error}"
    return f"a task of `{run.task_id}` failed"


class _Body:
    """One flowable at work: its children's plan, and how to run one pass."""

    def __init__(self, task: Task, at: StepRun, loop: LoopPath, run_inner: RunInner) -> None:
        self.task = task
        self.at = at
        self.loop = loop
        self._run_inner = run_inner

    def plan(self, *, parallel: bool = False) -> Plan:
        place = self.at.execution.ledger.places[self.task.id]
        tasks = self.task.branches.get("tasks", ())
        return compile_body(self.at.execution.flow, tasks, place.key, parallel=parallel)

    def run(self, plan: Plan, loop: LoopPath, at: StepRun | None = None) -> bool:
        """Run the children once; say whether none failed."""
        at = at or self.at
        ending = lambda: at.execution.ending  # noqa: E731
        board = run_plan(plan, lambda step: self._run_inner(step, at, loop), stop=ending)
        return board.done and not any(signal.name == "failure" for signal in board.emitted)

    def render(self, template: str, prop: str, run: TaskRun) -> str:
        execution = self.at.execution
        try:
            variables = execution.variables(self.task, run)
            return expressions.render(template, variables, ExecutionHost(execution, run))
        except ExpressionError as error:
            place = execution.place(self.task.id, prop)
            raise TaskFailed(f"cannot render `{prop}` ({place}): {error}") from error

    def render_list(self, prop: str, run: TaskRun) -> list[Any]:
        """Return the values of a loop: a list with its texts rendered, or the JSON of a text."""
        written = self.task.properties.get(prop)
        if isinstance(written, str):
            text = self.render(written, prop, run)
            try:
                values = json.loads(text)
            except ValueError:
                raise TaskFailed(f"`{prop}` is not a JSON array: `{text[:200]}`") from None
        else:
            values = [self._item(item, prop, run) for item in written or ()]
        if not isinstance(values, list):
            raise TaskFailed(f"`{prop}` is not a list but `{json.dumps(values)[:200]}`")
        return values

    def _item(self, item: Any, prop: str, run: TaskRun) -> Any:
        if isinstance(item, str):
            return self.render(item, prop, run)
        if isinstance(item, (dict, list)):
            execution = self.at.execution
            variables = execution.variables(self.task, run)
            return expressions.render_value(item, variables, ExecutionHost(execution, run))
        return item


def _each(body: _Body, run: TaskRun) -> None:
    kind = body.task.type.removeprefix(CORE_FLOW)
    values = body.render_list("values" if kind == "ForEach" else "value", run)
    limit = {
        "ForEach": getattr(body.task.spec, "concurrency_limit", 1),
        "EachSequential": 1,
        "EachParallel": getattr(body.task.spec, "concurrent", 0),
    }[kind]
    nulls = sum(value is None for value in values)
    if nulls:
        raise TaskFailed(f"Found '{nulls}' null values on Each, with values={json.dumps(values)}")
    texts = dict.fromkeys(_text(value) for value in values)
    items = [LoopItem(body.task.id, text, index) for index, text in enumerate(texts)]
    plan = body.plan(parallel=kind == "EachParallel")
    _iterate(body, plan, items, int(limit) or MOST_THREADS)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _iterate(body: _Body, plan: Plan, items: list[LoopItem], workers: int) -> None:
    """Run the iterations, `workers` at a time; a free worker takes the next value at once."""
    execution = body.at.execution
    waiting = iter(items)
    lock = threading.Lock()
    failed = threading.Event()
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def work() -> None:
        while not failed.is_set() and not execution.ending:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            try:
                if not body.run(plan, (*body.loop, item)):
                    failed.set()
            except BaseException as error:  # raised again on the thread that waits
                errors.put(error)
                failed.set()

    threads = [
        threading.Thread(target=work, name=f"{body.task.id} {number}", daemon=True)
        for number in range(min(workers, len(items)) - 1)
    ]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if not errors.empty():
        raise errors.get()


def _loop_until(body: _Body, run: TaskRun) -> dict[str, Any]:
    spec: Any = body.task.spec
    frequency = getattr(spec, "check_frequency", None)
    interval = _seconds(getattr(frequency, "interval", None), 1.0)
    most = getattr(frequency, "max_iterations", None)
    longest = getattr(frequency, "max_duration", None)
    plan = body.plan()
    ledger = body.at.execution.ledger
    began = time.monotonic()
    count = 0
    while True:
        count += 1
        ledger.forget_iteration(body.task, body.loop)
        run = ledger.update(replace(run, outputs={"iterationCount": count}))
        if not body.run(plan, body.loop) or body.at.execution.ending:
            break
        condition = str(body.task.properties.get("condition"))
        if expressions.truthy(body.render(condition, "condition", run)):
            break
        over_count = most is not None and count >= int(most)
        over_time = longest is not None and time.monotonic() - began >= _seconds(longest, 0)
        if over_count or over_time:
            if getattr(spec, "fail_on_max_reached", False):
                what = "iterations" if over_count else "duration"
                raise TaskFailed(f"the maximum {what} of `{body.task.id}` was reached")
            break
        body.at.execution.cancel.sleep(interval)
    return {"iterationCount": count}


def _seconds(duration: Any, default: float) -> float:
    if duration is None:
        return default
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def _working_directory(body: _Body, run: TaskRun) -> None:
    folder = Path(tempfile.mkdtemp(prefix="kestra-"))
    try:
        body.run(body.plan(), body.loop, replace(body.at, shared_folder=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_BODIES: dict[str, Callable[[_Body, TaskRun], Any]] = {
    "ForEach": _each,
    "EachSequential": _each,
    "EachParallel": _each,
    "LoopUntil": _loop_until,
    "WorkingDirectory": _working_directory,
}
