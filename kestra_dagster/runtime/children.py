"""Executions that a task starts: what is asked for, what comes back, how they run in-process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.execution import Execution
    from kestra_dagster.runtime.life import Past

CORRELATION = "system.correlationId"
ENDED_WELL = ("SUCCESS", "WARNING")


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """An execution to start on behalf of a task run of `parent`.

    `publish` are values to render in the child's own context at its end (the old `outputs` of a
    Subflow). `wait` says whether the caller waits for the end. `started` is told the child's id.
    """

    flow: Flow
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    trigger: Mapping[str, Any]
    parent: Execution
    publish: Mapping[str, Any] | None = None
    wait: bool = True
    delay: float = 0.0
    started: Callable[[str], None] = field(default=lambda _: None)
    continues: Past | None = None
    """The child of the parent's earlier run, to go on with from where it failed."""

    def secrets(self) -> dict[str, Any]:
        """Return the values among the inputs that are secrets."""
        return {
            item.id: self.inputs[item.id]
            for item in self.flow.inputs
            if item.type == "SECRET" and item.id in self.inputs
        }


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """What a child came to; CREATED where nobody waited."""

    execution_id: str
    state: str
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    publish_error: str | None = None


Launch = Callable[[ChildRequest], ChildEnd]
"""Start a child and, if asked to, wait; raises KestraDagsterError if it cannot start."""


def end_of(child: Execution, publish: Mapping[str, Any] | None) -> ChildEnd:
    """Return what a settled child came to; flow outputs win over what was asked to publish."""
    from kestra_dagster.runtime.host import ExecutionHost

    outputs: Mapping[str, Any] | None = child.outputs
    publish_error = child.outputs_error
    if not child.flow.outputs and publish:
        try:
            outputs = expressions.render_value(publish, child.variables(), ExecutionHost(child))
        except KestraDagsterError as error:
            publish_error = str(error)
    succeeded = child.state in ENDED_WELL
    error = None if succeeded else child.failure()
    return ChildEnd(child.id, child.state, outputs, error, publish_error)


Execute = Callable[[ChildRequest, Callable[["Execution"], None]], "Execution"]
"""Run a child to its end on this thread, tell each execution it becomes; return the last."""


def launcher(execute: Execute) -> Launch:
    """Return how children run in this process; without `wait` on a thread that nobody waits for.

    That thread keeps the process from ending before the child has. A killed parent kills them.
    """

    def launch(request: ChildRequest) -> ChildEnd:
        if request.continues is not None and request.continues.state in ENDED_WELL:
            from kestra_dagster.runtime.earlier_children import recorded_end

            request.started(request.continues.execution_id)
            return recorded_end(request.continues, request)
        if request.wait:
            return end_of(_run(request, execute, lambda _: None), request.publish)
        told: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()

        def detached() -> None:
            try:
                _run(request, execute, lambda child: told.put(child.id))
            except BaseException as error:  # raised where the parent waits for the id
                told.put(error)

        thread = threading.Thread(target=detached, name=f"execution of {request.flow.id}")
        thread.start()
        request.parent.detached.append(thread)
        first = told.get()
        if isinstance(first, BaseException):
            raise first
        return ChildEnd(first, "CREATED")

    return launch


def _run(request: ChildRequest, execute: Execute, tell: Callable[[Execution], None]) -> Execution:
    parent = request.parent
    parent.cancel.sleep(request.delay)
    with ExitStack() as links:

        def opened(child: Execution) -> None:
            stop = parent.cancel.on_cancel(lambda: child.cancel.cancel("its parent was killed"))
            links.callback(stop)
            request.started(child.id)
            tell(child)

        return execute(request, opened)
