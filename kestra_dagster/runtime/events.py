"""What an execution tells while it runs, for whoever shows progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.records import TaskRun


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task run began."""

    run: TaskRun
    time: datetime


@dataclass(frozen=True, slots=True)
class TaskRetrying:
    """An attempt failed and another follows after `delay` seconds."""

    run: TaskRun
    error: str
    delay: float
    time: datetime


@dataclass(frozen=True, slots=True)
class TaskPaused:
    """A task run waits to be resumed."""

    run: TaskRun
    execution_id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task run reached its final state."""

    run: TaskRun
    time: datetime


@dataclass(frozen=True, slots=True)
class Logged:
    """A task logged a line (secrets masked).

    `failure` marks the error that the end of the task run, or its next try, tells again.
    """

    line: LogLine
    failure: bool = False


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The execution is in another state (RUNNING, PAUSED, RETRYING, ... and the final one)."""

    execution_id: str
    state: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ExecutionEnded:
    """The execution reached its final state."""

    state: str
    time: datetime


Event = TaskStarted | TaskRetrying | TaskPaused | TaskEnded | Logged | StateChanged | ExecutionEnded
Listener = Callable[[Event], None]
