"""What is known of a task run, a log line and an attempt: plain values that go to disk as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kestra_dagster.plan.model import LoopItem as LoopItem
from kestra_dagster.plan.model import LoopPath as LoopPath

TERMINAL = frozenset(("SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "SKIPPED", "RETRIED"))
FAILURES = ("FAILED", "KILLED", "CANCELLED")
"""Final states of an execution that come with a reason."""
WORST_FIRST = ("KILLED", "FAILED", "WARNING", "PAUSED")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task."""

    state: str
    started: datetime
    ended: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One run of a task, or of one iteration of it.

    `value` is the loop value where the task is a direct child of a loop. `attempts` counts the
    tries, `history` tells them; `states` are the states it went through and since when. `sequence`
    orders the runs by creation.
    """

    id: str
    task_id: str
    state: str
    started: datetime
    sequence: int
    parent_id: str | None = None
    value: str | None = None
    iteration: int | None = None
    loop: LoopPath = ()
    history: tuple[Attempt, ...] = ()
    outputs: Mapping[str, Any] | None = None
    ended: datetime | None = None
    error: str | None = None
    states: tuple[tuple[str, datetime], ...] = ()
    log_file: str | None = None
    """The URI of the last attempt's log, where the task logs to a file."""

    @property
    def attempts(self) -> int:
        """How many tries it took."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """How long it ran; 0 while it runs."""
        return (self.ended - self.started).total_seconds() if self.ended else 0.0

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the enclosing loops, outermost first."""
        return tuple(item.value for item in self.loop)


def worst(states: list[str]) -> str:
    """Return a flowable's state from its children's; SKIPPED and CANCELLED count as SUCCESS."""
    return next((state for state in WORST_FIRST if state in states), "SUCCESS")


def run_id(key: str, loop: LoopPath) -> str:
    """Return the id of a task run: its path of task ids, with the values of its loops."""
    return f"{key}[{','.join(item.value for item in loop)}]" if loop else key
