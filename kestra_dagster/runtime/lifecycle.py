"""What holds while an execution runs: its slot among those of the flow, and its promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from kestra_dagster.errors import Cancelled
from kestra_dagster.runtime.concurrency import admitted
from kestra_dagster.runtime.context import ExitState
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.slas import watched

_REFUSED: Mapping[str, ExitState] = {"CANCEL": "CANCELLED", "FAIL": "FAILED"}


@contextmanager
def running(execution: Execution) -> Iterator[None]:
    """Let an execution run in the block; where it may not, it is ending and no step starts."""
    if execution.continuation is not None and execution.continuation.keep == "all":
        execution.enter("RESTARTED")
    with ExitStack() as held:
        try:
            inside = held.enter_context(admitted(execution))
        except Cancelled:
            yield  # killed while it was queued: its steps see that it ends
            return
        held.enter_context(watched(execution))
        _begin(execution, inside)
        yield


def _begin(execution: Execution, inside: bool) -> None:
    concurrency = execution.flow.concurrency
    if not inside and concurrency is not None:
        execution.refuse(
            _REFUSED[concurrency.behavior],
            f"{concurrency.limit} executions of `{execution.flow.id}` run already, its limit",
        )
    elif execution.refusal is not None:
        execution.refuse("FAILED", execution.refusal)
    else:
        execution.enter("RUNNING")
