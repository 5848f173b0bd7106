"""The inline engine: an execution in this process without any instance, for tests of flows."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.plan.interpreter import run_plan
from kestra_dagster.runtime.children import ChildRequest, launcher
from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import check_labels
from kestra_dagster.runtime.kv_memory import process_store
from kestra_dagster.runtime.lifecycle import running
from kestra_dagster.runtime.open import open_execution
from kestra_dagster.runtime.platform import Platform, storage_of
from kestra_dagster.runtime.result import RunResult, whole_result
from kestra_dagster.runtime.steps import run_step
from kestra_dagster.runtime.task_run import StepRun


def inline_platform(
    types: TaskTypes, flows: FlowCatalog | None = None, root: Path | None = None
) -> Platform:
    """Return a platform whose files are below `root`.

    By default it is the one that the inline executions of this process share; what they leave is
    gone at the end of the process, unless KESTRA_DAGSTER_STORAGE says where to keep it (with an S3
    the files alone: no other process has the journals of executions without an instance).
    """
    if root is not None:
        return Platform(root, types, flows=flows, launch=launch_here)
    root, store = storage_of(Path(_process_folder().name))
    return Platform(root, types, process_store(), flows=flows, launch=launch_here, store=store)


@lru_cache(maxsize=1)
def _process_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kestra-inline-")


def run_inline(
    flow: Flow,
    platform: Platform,
    given: Mapping[str, Any],
    *,
    listener: Listener | None = None,
    labels: Mapping[str, str] | None = None,
    checked: bool = True,
) -> RunResult:
    """Run a flow to its end; executions it started without waiting for them have ended as well.

    Without `checked` the inputs are taken as they are, and none is missed.
    """
    check_labels(labels or {})
    seen: list[Execution] = []
    last = execute(
        flow,
        platform,
        given,
        labels=labels,
        listener=listener,
        opened=seen.append,
        checked=checked,
    )
    return whole_result(last, seen)


def execute(
    flow: Flow,
    platform: Platform,
    given: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    trigger: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    opened: Callable[[Execution], None] = lambda _: None,
    checked: bool = True,
    continuation: Continuation | None = None,
    execution_id: str | None = None,
) -> Execution:
    """Run a flow to its end, again as a new execution where a retry asks for one; return the last.

    `opened` is told each execution before it begins. The first one may take over from an earlier
    run, and have an id already.
    """
    execution: Execution | None = None
    while True:
        run_id = uuid.uuid4().hex
        execution = open_execution(
            compile_flow(flow),
            platform,
            execution_id or run_id,
            given,
            run_id=run_id,
            continuation=continuation,
            labels=labels,
            trigger=trigger,
            listener=listener,
            retry_of=execution.tried if execution else None,
            checked=checked,
        )
        opened(execution)
        try:
            execution.run_whole()
            drive(execution)
            execution.settle()
        finally:
            execution.close()
        if execution.retry_in is None:
            return execution
        time.sleep(execution.retry_in)
        continuation = execution_id = None


def _execute_child(request: ChildRequest, opened: Callable[[Execution], None]) -> Execution:
    if request.continues is not None:
        return execute(
            request.continues.opening.flow(request.parent.platform.types),
            request.parent.platform,
            request.secrets(),
            opened=opened,
            continuation=Continuation(request.continues.run_id, keep="all"),
            execution_id=request.continues.execution_id,
        )
    return execute(
        request.flow,
        request.parent.platform,
        request.inputs,
        labels=request.labels,
        trigger=request.trigger,
        opened=opened,
    )


launch_here = launcher(_execute_child)
"""Run children in this process."""


def drive(execution: Execution) -> None:
    """Run all steps of an execution by the rules of the gates; failures stay in its ledger."""
    with running(execution):
        run_plan(execution.plan, lambda step: run_step(step, StepRun(execution, step.key)).signals)
