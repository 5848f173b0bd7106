"""What steps print and log outside of `context.log`: captured once per run, for all its threads."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from kestra_dagster.executor.internals import (
    DagsterEvent,
    DagsterLogManager,
    EngineEventData,
    ExecutionPlan,
    PlanExecutionContext,
    compute_log_setup_error,
    compute_log_teardown_error,
    create_compute_log_file_key,
    take_over_python_loggers,
)

_descriptors = threading.Lock()
"""Held while a run captures: Dagster redirects the process's file descriptors 1 and 2."""

current_step_log: ContextVar[DagsterLogManager | None] = ContextVar(
    "current_step_log", default=None
)
"""The log of the step that runs in this thread."""


class ComputeLogs:
    """Capture of a run's output under one log key, which the UI shows for each of its steps.

    When another run of this process captures already, this one goes without: taking the file
    descriptors over would end the other's capture and mix both.
    """

    def __init__(self, context: PlanExecutionContext, plan: ExecutionPlan) -> None:
        self._context = context
        self._plan = plan
        self._stack = ExitStack()

    def start(self) -> Iterator[DagsterEvent]:
        """Yield the events of the capture's start; a failing log manager does not fail the run."""
        if not _descriptors.acquire(blocking=False):
            yield DagsterEvent.engine_event(
                self._context,
                "Output of steps is not captured: another run in this process is capturing.",
                EngineEventData(),
            )
            return
        self._stack.callback(_descriptors.release)
        manager = self._context.instance.compute_log_manager
        log_key = manager.build_log_key_for_run(self._context.run_id, create_compute_log_file_key())
        step_keys = [step.key for step in self._plan.get_steps_to_execute_in_topo_order()]
        try:
            log_context = self._stack.enter_context(manager.capture_logs(log_key))
            yield DagsterEvent.capture_logs(self._context, step_keys, list(log_key), log_context)
        except Exception:
            yield from compute_log_setup_error(self._context, sys.exc_info())

    def stop(self) -> Iterator[DagsterEvent]:
        """End the capture, once."""
        try:
            self._stack.close()
        except Exception:
            yield from compute_log_teardown_error(self._context, sys.exc_info())


@contextmanager
def python_logs_by_step(context: PlanExecutionContext) -> Iterator[None]:
    """Bring records of managed Python loggers into the log of the step in whose thread they arose.

    Dagster attaches a step's handler to these loggers while the step runs; with several steps at
    once each would get the records of all. Threads that a step starts itself are not told apart:
    their records go to the run's log.
    """
    loggers = take_over_python_loggers(context.log)
    router = _StepRouter(context.log, threading.get_ident())
    for logger in loggers:
        logger.addHandler(router)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(router)


class _StepRouter(logging.Handler):
    def __init__(self, run_log: DagsterLogManager, loop_thread: int) -> None:
        super().__init__()
        self._run_log = run_log
        self._loop_thread = loop_thread

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._loop_thread:
            return
        (current_step_log.get() or self._run_log).handle(record)

    def createLock(self) -> None:
        # The handlers behind it have locks; one here would order threads for nothing.
        self.lock = None
