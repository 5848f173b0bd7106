"""Waiting."""

from __future__ import annotations

from datetime import timedelta

from kestra_dagster.flow.properties import Duration, Dynamic
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


class Sleep(RunnableSpec):
    """Wait for a duration; ends at once when cancelled."""

    duration: Dynamic[Duration]

    def run(self, context: TaskContext) -> None:
        context.log.info(f"Waiting for {java_duration(self.duration)}")
        context.cancel.sleep(self.duration.total_seconds())


def java_duration(value: timedelta) -> str:
    """Write a duration as Java's `Duration.toString` does: hours are the largest unit."""
    micros = value // timedelta(microseconds=1)
    sign = "-" if micros < 0 else ""
    seconds, fraction = divmod(abs(micros), 1_000_000)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = f"{sign}{hours}H" if hours else ""
    text += f"{sign}{minutes}M" if minutes else ""
    if fraction:
        text += f"{sign}{seconds}.{fraction:06}".rstrip("0") + "S"
    elif seconds or not text:
        text += f"{sign}{seconds}S"
    return f"PT{text}"
