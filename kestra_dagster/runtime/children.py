"""Executions that a task starts: what is asked for, what comes back, how they run in-process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.runtime.execution import Execution

CORRELATION = "system.correlationId"


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
    continues: str | None = None
    """The child of an earlier try, to go on with from where it failed."""


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
    publish_error = child.error
    if not child.flow.outputs and publish:
        try:
            outputs = expressions.render_value(publish, child.variables(), ExecutionHost(child))
        except KestraDagsterError as error:
            publish_error = str(error)
    succeeded = child.state in ("SUCCESS", "WARNING")
    error = None if succeeded else child.failure()
    return ChildEnd(child.id, child.state, outputs, error, publish_error)
