"""Waiting."""

from __future__ import annotations

from kestra_dagster.flow.properties import Duration, Dynamic, duration_text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


class Sleep(RunnableSpec):
    """Wait for a duration; ends at once when cancelled."""

    duration: Dynamic[Duration]

    def run(self, context: TaskContext) -> None:
        context.log.info(f"Waiting for {duration_text(self.duration)}")
        context.cancel.sleep(self.duration.total_seconds())
