"""Failures that a job handles itself: the step is a failed one, and its handlers run."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from dagster import OpExecutionContext

_lock = threading.Lock()
_reported: WeakKeyDictionary[object, BaseException] = WeakKeyDictionary()


def report_handled_failure(context: OpExecutionContext, error: BaseException) -> None:
    """Say that this step failed with `error`, and that steps downstream deal with it.

    Call it from an op that then yields the output which starts its handlers, and ends normally.
    The threaded executor writes STEP_FAILURE with `error` in place of STEP_SUCCESS, calls the op's
    failure hooks, runs what the emitted outputs lead to, and fails the run. Steps that miss an
    output of this step are not logged as skipped, so that re-execution from failure retries them.
    Under any other executor the call has no effect: the step succeeds.
    """
    step_context = context.get_step_execution_context()
    with _lock:
        _reported.setdefault(step_context, error)


def reported_failure(step_context: object) -> BaseException | None:
    """Return the failure that the attempt of `step_context` has reported."""
    with _lock:
        return _reported.get(step_context)
