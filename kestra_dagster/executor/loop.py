"""The loop of a run: hands out steps to threads, takes in what happened, ends in any case."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from queue import Empty, SimpleQueue

from kestra_dagster.executor.async_ops import LoopThread
from kestra_dagster.executor.connections import Flush
from kestra_dagster.executor.internals import (
    DagsterEvent,
    DagsterExecutionInterruptedError,
    DagsterInvariantViolationError,
    EngineEventData,
    ErrorSource,
    ExecutionStep,
    Executor,
    PlanExecutionContext,
    SerializableErrorInfo,
    StepFailureData,
    exc_info_of,
    serializable_error_info_from_exc_info,
    use_event_loop,
)
from kestra_dagster.executor.schedule import Schedule
from kestra_dagster.executor.step_thread import Attempt, Ended, Happened, Message
from kestra_dagster.executor.termination import is_asked
from kestra_dagster.runtime.cancellation import CancelToken

GRACE_SECONDS = 3.0
"""How long steps may take to end after a termination; then their threads are left behind."""

INTERRUPT_POLL_SECONDS = 0.2
"""Signal handlers of a run only set a flag, so a waiting loop has to look."""


class RunLoop:
    """Drives one run from one thread."""

    def __init__(
        self,
        executor: Executor,
        context: PlanExecutionContext,
        schedule: Schedule,
        token: CancelToken,
        max_concurrent: int,
        flush: Flush,
    ) -> None:
        self._executor = executor
        self._context = context
        self._schedule = schedule
        self._token = token
        self._max_concurrent = max_concurrent
        self._flush = flush
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._in_the_log = 0
        self._running: dict[str, Attempt] = {}
        self._async_ops = LoopThread(context.event_loop)
        self._first_handled: BaseException | None = None
        self._fatal: BaseException | None = None
        self._deadline: float | None = None
        self._stale = True

    def events(self) -> Generator[DagsterEvent, None, None]:
        """Run all steps, yielding their events; raise what ends the run other than by its steps."""
        try:
            while True:
                if self._deadline is None and self._interrupted():
                    yield from self._begin_termination()
                if self._deadline is not None and time.monotonic() > self._deadline:
                    yield from self._leave_behind()
                if self._deadline is None and self._fatal is None:
                    yield from self._hand_out()
                    if not self._running and self._schedule.is_complete:
                        break
                elif not self._running:
                    break
                for message in self._messages():
                    yield from self._take_in(message)
        finally:
            self._abort()
            self._async_ops.stop()
        if self._fatal:
            raise self._fatal
        if self._deadline is not None:
            raise DagsterExecutionInterruptedError("The run was told to terminate.")
        if self._first_handled and self._context.raise_on_error:
            raise self._first_handled

    def _interrupted(self) -> bool:
        # signals are the main thread's: its run must find the flag, not one beside it
        main = threading.current_thread() is threading.main_thread()
        signalled = main and self._schedule.check_for_interrupts()
        return signalled or is_asked(self._context.run_id)

    def _hand_out(self) -> Iterator[DagsterEvent]:
        due = self._schedule.next_due()
        if not self._stale and (due is None or due > time.time()):
            return
        self._stale = False
        planned = False
        for event in self._schedule.plan_events_iterator(self._context):
            planned = True
            yield event
        if planned:
            self._flush()
        steps = self._schedule.get_steps_to_execute(self._max_concurrent - len(self._running))
        for step in steps:
            self._start(step)
        yield from self._schedule.concurrency_event_iterator(self._context)
        if (
            not self._running
            and not self._schedule.is_complete
            and self._schedule.next_due() is None
        ):
            self._resolve_standstill()

    def _resolve_standstill(self) -> None:
        """Nothing runs and nothing will come up by itself: let a step pass its slots, or fail."""
        step = self._schedule.held_by_slots()
        if step is None:
            raise DagsterInvariantViolationError(
                "No step runs and none can start, but the run is not complete. A limit below 1 in"
                " `tag_concurrency_limits` does that; without one it is a defect of the executor."
            )
        self._context.log.warning(
            f"Step {step.key} starts beyond the limits of its slot groups: their members wait for"
            " one another. Nest the groups, or let no member depend on another."
        )
        self._schedule.start_without_slot(step.key)
        self._stale = True

    def _start(self, step: ExecutionStep) -> None:
        context = self._context.for_step(step, self._schedule.get_known_state())
        use_event_loop(context, self._async_ops)
        attempt = Attempt(context, self._inbox)
        attempt.start()
        self._running[step.key] = attempt

    def _messages(self) -> Iterator[Message]:
        """Wait for a message as long as nothing else is due, then yield all that are there."""
        timeout = INTERRUPT_POLL_SECONDS
        if self._stale:
            timeout = 0.0
        elif (due := self._schedule.next_due()) is not None:
            timeout = min(max(due - time.time(), 0.0) + 0.001, timeout)
        try:
            yield self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait()
            while not self._stale:
                yield self._inbox.get_nowait()
        except Empty:
            return

    def _take_in(self, message: Message) -> Iterator[DagsterEvent]:
        attempt = message.attempt
        written, self._in_the_log = self._in_the_log > 0, max(self._in_the_log - 1, 0)
        if attempt.muted:
            return
        if not written and self._is_relied_on(message):
            self._in_the_log = self._inbox.qsize()
            self._flush()
        if isinstance(message, Happened):
            event = message.event
            yield event
            if event is not attempt.outcome:
                # a step is decided when its hooks are through: see Ended
                self._schedule.handle_event(event)
                self._stale |= event.is_successful_output
            return
        del self._running[attempt.key]
        self._stale = True
        if message.error:
            yield from self._take_in_error(attempt, message)
        if attempt.handled_failure:
            self._first_handled = self._first_handled or attempt.handled_failure
            self._schedule.mark_handled_failure(attempt.key)
        elif attempt.outcome:
            self._schedule.handle_event(attempt.outcome)
        else:
            self._schedule.verify_complete(self._context, attempt.key)

    def _is_relied_on(self, message: Message) -> bool:
        """Say whether somebody goes on because of a message: its events have to be written.

        A step that ended must be found ended, whatever happens to this process afterwards.
        """
        if isinstance(message, Ended):
            return True
        event = message.event
        return event is message.attempt.outcome or (
            event.is_successful_output
            and not self._executor.step_dependency_config.require_upstream_step_success
        )

    def _take_in_error(self, attempt: Attempt, ended: Ended) -> Iterator[DagsterEvent]:
        error = ended.error
        assert error is not None
        if isinstance(error, (KeyboardInterrupt, DagsterExecutionInterruptedError)):
            if self._deadline is None:
                self._fatal = self._fatal or error
                yield from self._begin_termination()
        elif attempt.outcome:
            # raise_on_error, or a broken hook: Dagster's own executors end the run by it too
            self._fatal = self._fatal or error
        if attempt.outcome is None:
            context = self._context.for_step(attempt.context.step)
            event = self._executor.log_failure_or_retry_event_after_error(
                context,
                serializable_error_info_from_exc_info(exc_info_of(error)),
                self._schedule.get_known_state(),
            )
            attempt.outcome = event
            self._flush()
            yield event

    def _begin_termination(self) -> Iterator[DagsterEvent]:
        self._deadline = time.monotonic() + GRACE_SECONDS
        self._schedule.mark_interrupted()
        self._cancel()
        yield DagsterEvent.engine_event(
            self._context,
            "Threaded executor: received termination signal - cancelling running steps",
            EngineEventData.interrupted(list(self._running)),
        )

    def _cancel(self) -> None:
        self._async_ops.cancel()
        # callbacks are foreign code: they may block, the loop may not
        threading.Thread(
            target=self._token.cancel, args=("the run was terminated",), daemon=True
        ).start()

    def _leave_behind(self) -> Iterator[DagsterEvent]:
        for key, attempt in list(self._running.items()):
            attempt.muted = True
            error = SerializableErrorInfo(
                f"DagsterExecutionInterruptedError: step {key} still ran {GRACE_SECONDS:g} seconds"
                " after the run was terminated; its thread is left behind\n",
                [],
                "DagsterExecutionInterruptedError",
            )
            event = DagsterEvent.step_failure_event(
                self._context.for_step(attempt.context.step),
                StepFailureData(error, None, ErrorSource.INTERRUPT),
            )
            self._flush()
            yield event
            self._schedule.handle_event(event)
            del self._running[key]

    def _abort(self) -> None:
        """Stop what runs when the loop is left by an exception, also by one of its own."""
        if not self._running:
            return
        for attempt in self._running.values():
            attempt.muted = True
        self._cancel()
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running and (left := deadline - time.monotonic()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except Empty:
                return
            if isinstance(message, Ended):
                self._running.pop(message.attempt.key, None)
