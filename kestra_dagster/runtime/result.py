"""What an execution came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.records import FAILURES, TaskRun


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a flow: state, task runs in order of creation, outputs, logs.

    `task_outputs` is the `outputs` variable, `outputs` the flow's own outputs. `error` says why it
    failed. `execution_id` is the id of the first Dagster run where there is one. `states` are the
    states it went through and since when.
    """

    execution_id: str
    flow_id: str
    namespace: str
    state: str
    task_runs: tuple[TaskRun, ...]
    task_outputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    logs: tuple[LogLine, ...]
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    started: datetime
    ended: datetime
    error: str | None = None
    states: tuple[tuple[str, datetime], ...] = ()
    trigger: Mapping[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """How long the execution took."""
        return (self.ended - self.started).total_seconds()

    @property
    def succeeded(self) -> bool:
        """Say whether it ended SUCCESS or WARNING."""
        return self.state in ("SUCCESS", "WARNING")


def result_of(execution: Execution) -> RunResult:
    """Settle an execution and return its result."""
    execution.settle()
    return snapshot(execution)


def snapshot(execution: Execution) -> RunResult:
    """Return what an execution has come to so far."""
    state = execution.state
    return RunResult(
        execution_id=execution.id,
        flow_id=execution.flow.id,
        namespace=execution.flow.namespace,
        state=state,
        task_runs=execution.ledger.task_runs(),
        task_outputs=dict(execution.ledger.outputs()),
        outputs=execution.outputs or {},
        logs=tuple(execution.logs),
        inputs=execution.inputs or {},
        labels=execution.labels,
        started=execution.started,
        ended=execution.ended or execution.started,
        error=execution.failure() if state in FAILURES else None,
        states=tuple(execution.states),
        trigger=execution.trigger,
    )


def whole_result(last: Execution, seen: Iterable[Execution]) -> RunResult:
    """Return the result of an execution once those that it did not wait for have ended."""
    for execution in seen:
        for thread in execution.detached:
            thread.join()
    return result_of(last)
