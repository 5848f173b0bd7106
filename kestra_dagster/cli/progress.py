"""What an execution says while it runs, a line for each thing that happens."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from kestra_dagster.runtime.events import Event
    from kestra_dagster.runtime.records import TaskRun

STYLES = {
    "SUCCESS": "green",
    "WARNING": "yellow",
    "SKIPPED": "dim",
    "start": "cyan",
    "retry": "yellow",
    "queued": "yellow",
    "restarted": "cyan",
    "warn": "yellow",
    "info": "dim",
}
NAME_WIDTH = 20
CAUSE_WIDTH = 60
SHOWN_STATES = ("QUEUED", "RESTARTED", "KILLING")
SHOWN_LEVELS = ("INFO", "WARN", "ERROR")


def style(state: str) -> str:
    """Return the colour of a state: red for all that are not listed."""
    return STYLES.get(state, "red")


class Progress:
    """Print events as lines: seconds since the first, what happened, to which task."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._start: datetime | None = None

    def __call__(self, event: Event) -> None:
        from kestra_dagster.runtime.events import (
            Logged,
            StateChanged,
            TaskEnded,
            TaskRetrying,
            TaskStarted,
        )

        if isinstance(event, TaskStarted):
            self._line(event.time, "start", _name(event.run))
        elif isinstance(event, TaskRetrying):
            again = f"again in {event.delay:.1f} s: {_beginning(event.error)}"
            self._line(event.time, "retry", _name(event.run), again)
        elif isinstance(event, StateChanged) and event.state in SHOWN_STATES:
            self._line(event.time, event.state.lower(), "")
        elif isinstance(event, TaskEnded):
            run = event.run
            cause = f"  {_beginning(run.error)}" if run.error else ""
            self._line(event.time, run.state, _name(run), f"{run.seconds:.2f} s{cause}")
        elif isinstance(event, Logged) and not event.failure and event.line.level in SHOWN_LEVELS:
            task = event.line.task_id or ""
            self._line(event.line.timestamp, event.line.level.lower(), task, event.line.message)

    def _line(self, time: datetime, what: str, name: str, more: str = "") -> None:
        from rich.markup import escape

        with self._lock:
            self._start = self._start or time
            since = max((time - self._start).total_seconds(), 0.0)
            colour = style(what)
            text = f"{name:<{NAME_WIDTH}}  " if more else name
            self._console.print(
                f"[dim]{since:8.2f} s[/]  [{colour}]{what:<8}[/]  "
                f"{escape(text)}[dim]{escape(more)}[/]"
            )


def _beginning(error: str) -> str:
    """Return the first words of an error, which is told in full at the end of the run."""
    line = error.splitlines()[0]
    return line if len(line) <= CAUSE_WIDTH else f"{line[: CAUSE_WIDTH - 4].rstrip()} ..."


def _name(run: TaskRun) -> str:
    return run.task_id + "".join(f"[{value}]" for value in run.values)
