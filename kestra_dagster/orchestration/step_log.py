"""What a step tells of its task runs in Dagster's log: at once, or gathered where it is much."""

from __future__ import annotations

import threading
from collections.abc import Callable

import dagster as dg

from kestra_dagster.plan.model import Step
from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.events import Event, Logged, TaskEnded, TaskRetrying

LEVELS = {"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error"}
DIRECT_LINES = 100
"""Lines that a step logs one by one; each costs Dagster a commit."""
FLUSH_SECONDS = 1.0
MOST_GATHERED = 500


class StepLog:
    """Pass the events of one step on to its log; thread-safe.

    The first lines of a step are logged as they come, the others are gathered: one message a second
    holds them all, those of a loop each with its iteration. What made a task fail never waits.
    """

    def __init__(self, context: dg.OpExecutionContext, step: Step) -> None:
        self._iterates = step.kind == "body"
        self._loop = step.loop
        self._log = context.log
        self._lock = threading.RLock()
        self._left = DIRECT_LINES
        self._gathered: list[str] = []
        self._timer: threading.Timer | None = None

    def tell(self, event: Event) -> None:
        """Log an event, if it is one a person wants to read."""
        if isinstance(event, Logged):
            line = event.line
            of_loop = self._iterates and line.value is not None
            self._write(LEVELS.get(line.level, "info"), _text(line), of_loop or not event.failure)
        elif isinstance(event, TaskRetrying):
            run = event.run
            text = f"{run.id}: attempt {run.attempts} failed, next one in {event.delay:g} s"
            self._write("warning", text, self._iterates and bool(run.loop))
        elif isinstance(event, TaskEnded) and self._iterates and event.run.loop != self._loop:
            run = event.run
            self._write("info", f"{run.id} ended {run.state} after {run.seconds:.2f} s", True)

    def close(self) -> None:
        """Log what is gathered."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            if self._gathered:
                lines, self._gathered = self._gathered, []
                self._log.info("\n".join(lines))

    def _write(self, level: str, text: str, may_wait: bool) -> None:
        if not may_wait:
            self.close()
            self._emit(level, text)
            return
        with self._lock:
            if self._left:
                self._left -= 1
                self._emit(level, text)
                return
            mark = "" if level in ("info", "debug") else f"{level.upper()} "
            self._gathered.append(mark + text)
            if len(self._gathered) >= MOST_GATHERED:
                self.close()
            elif self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self.close)
                self._timer.daemon = True
                self._timer.start()

    def _emit(self, level: str, text: str) -> None:
        write: Callable[[str], None] = getattr(self._log, level)
        write(text)


def _text(line: LogLine) -> str:
    return f"[{line.task_run_id}] {line.message}" if line.value is not None else line.message
