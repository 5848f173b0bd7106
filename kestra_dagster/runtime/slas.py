"""The `sla` of a flow: promises about an execution, and what follows when one breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.model import Sla
from kestra_dagster.runtime.context import ExitState
from kestra_dagster.runtime.host import ExecutionHost

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution

_ENDS: Mapping[str, ExitState] = {"FAIL": "FAILED", "CANCEL": "CANCELLED"}


@contextmanager
def watched(execution: Execution) -> Iterator[None]:
    """Watch the promises while the block runs; only the first violation of each acts."""
    if not execution.flow.sla:
        yield
        return
    watch = _Watch(execution)
    timers = [
        watch.timer(sla)
        for sla in execution.flow.sla
        if sla.type == "MAX_DURATION" and sla.duration
    ]
    forget = execution.on_change(watch.look)
    try:
        yield
    finally:
        forget()
        for timer in timers:
            timer.cancel()


class _Watch:
    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._lock = threading.Lock()
        self._broken: set[str] = set()

    def timer(self, sla: Sla) -> threading.Timer:
        assert sla.duration is not None
        past = (datetime.now(timezone.utc) - self._execution.started).total_seconds()
        left = max(0.0, sla.duration.total_seconds() - past)
        timer = threading.Timer(left, self._violated, (sla, f"it took longer than {sla.duration}"))
        timer.daemon = True
        timer.start()
        return timer

    def look(self) -> None:
        """Evaluate the assertions against the execution as it is now."""
        for sla in self._execution.flow.sla:
            if sla.type != "EXECUTION_ASSERTION" or sla.id in self._broken or not sla.assertion:
                continue
            try:
                text = expressions.render(
                    sla.assertion, self._execution.variables(), ExecutionHost(self._execution)
                )
            except KestraDagsterError as error:
                # Kestra logs it and goes on: what it asserts about may come later.
                self._execution.note("WARN", f"the SLA `{sla.id}` cannot be evaluated: {error}")
                continue
            if not expressions.truthy(text):
                self._violated(sla, f"`{sla.assertion}` does not hold")

    def _violated(self, sla: Sla, why: str) -> None:
        with self._lock:
            if sla.id in self._broken:
                return
            self._broken.add(sla.id)
        execution = self._execution
        if sla.labels:
            execution.add_labels(dict(sla.labels))
        execution.note("WARN", f"the SLA `{sla.id}` is violated: {why}")
        if sla.behavior in _ENDS:
            execution.break_off(_ENDS[sla.behavior], f"the SLA `{sla.id}` is violated: {why}")
