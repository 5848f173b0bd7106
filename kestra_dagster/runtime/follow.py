"""Follow an execution that another process runs, by what it writes into its journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from kestra_dagster.runtime.context import LogLine
from kestra_dagster.runtime.continuation import ADOPTED
from kestra_dagster.runtime.events import Event, Listener, Logged, StateChanged, TaskEnded
from kestra_dagster.runtime.journal import Journal
from kestra_dagster.runtime.platform import Platform
from kestra_dagster.runtime.recorded import recorded
from kestra_dagster.runtime.records import TERMINAL
from kestra_dagster.runtime.records_json import from_line
from kestra_dagster.runtime.result import RunResult

POLL_SECONDS = 0.3


def follow(
    platform: Platform,
    execution_id: str,
    run_id: str,
    listener: Listener,
    lives: Callable[[], bool],
    *,
    since: datetime | None = None,
) -> RunResult | None:
    """Tell what happens in a run until it ends, and return its result; None if it is lost.

    What happened before `since` is not told.
    """
    tail = _Tail(platform.journal(run_id))
    while True:
        alive = lives()
        events = sorted(tail.events(execution_id), key=_time)
        for event in events:
            if since is None or _time(event) >= since:
                listener(event)
        if tail.ended:
            return recorded(platform, execution_id)
        if not alive:
            return None
        time.sleep(POLL_SECONDS)


class _Tail:
    """Tells what is new in a journal."""

    def __init__(self, journal: Journal) -> None:
        self._new_lines = journal.tail(but=ADOPTED)
        self.ended = False

    def events(self, execution_id: str) -> Iterator[Event]:
        for line in self._new_lines():
            event = self._event(line, execution_id)
            if event is not None:
                yield event

    def _event(self, line: dict[str, Any], execution_id: str) -> Event | None:
        if "log" in line:
            at, *rest = line["log"]
            return Logged(LogLine(datetime.fromisoformat(at), *rest))
        run = from_line(line)
        if run is not None:
            return TaskEnded(run, run.ended) if run.state in TERMINAL and run.ended else None
        if "ended" in line:
            self.ended = True
        if "at" in line:
            at = datetime.fromisoformat(line["at"])
            return StateChanged(execution_id, line["state"], at)
        return None


def _time(event: Any) -> datetime:
    return event.line.timestamp if isinstance(event, Logged) else event.time
