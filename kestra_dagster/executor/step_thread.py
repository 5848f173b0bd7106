"""One attempt of a step in a thread of its own, telling the loop what happened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

from kestra_dagster.executor.capture import current_step_log
from kestra_dagster.executor.failures import reported_failure
from kestra_dagster.executor.internals import (
    DagsterEvent,
    StepExecutionContext,
    dagster_event_sequence_for_step,
    exc_info_of,
    get_log_record_event,
    has_log_record_event,
    hook_events,
    step_failure_event_from_exc_info,
)


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a step, which is in the event log already."""

    attempt: Attempt
    event: DagsterEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """The last word of an attempt; `error` is what left Dagster's code for running a step."""

    attempt: Attempt
    error: BaseException | None


Message = Happened | Ended


@dataclass(eq=False, slots=True)
class Attempt:
    """A step at work. `muted` keeps what it still says out of the event log."""

    context: StepExecutionContext
    inbox: SimpleQueue[Message]
    muted: bool = False
    outcome: DagsterEvent | None = None
    handled_failure: BaseException | None = field(default=None)

    @property
    def key(self) -> str:
        return self.context.step.key

    def start(self) -> None:
        """Run in a daemon thread: one that does not end must not hold up the process."""
        self.context.log.addFilter(self._admits)
        threading.Thread(target=self._run, name=f"step {self.key}", daemon=True).start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            current_step_log.set(self.context.log)
            for event in self._events():
                self.inbox.put(Happened(self, event))
        except BaseException as raised:
            error = raised
        finally:
            self.inbox.put(Ended(self, error))

    def _events(self) -> Iterator[DagsterEvent]:
        events: list[DagsterEvent] = []
        for made in dagster_event_sequence_for_step(self.context):
            event = made
            if event.is_step_success and (failure := reported_failure(self.context)):
                event = self._handled(failure)
            if event.is_step_success or event.is_step_failure or event.is_step_up_for_retry:
                self.outcome = event
            events.append(event)
            yield event
        yield from hook_events(self.context, events)

    def _handled(self, failure: BaseException) -> DagsterEvent:
        self.handled_failure = failure
        self.context.capture_step_exception(failure)
        return step_failure_event_from_exc_info(self.context, exc_info_of(failure))

    def _admits(self, record: logging.LogRecord) -> bool:
        # Dagster logs an event where it makes it: this is where a success is still kept out.
        if self.muted:
            return False
        event = get_log_record_event(record) if has_log_record_event(record) else None
        return not (event and event.is_step_success and reported_failure(self.context))
