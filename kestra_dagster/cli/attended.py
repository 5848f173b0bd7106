"""Run an execution while somebody sits at the terminal: Ctrl-C kills it, and it ends in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.runtime.events import Event, Listener
    from kestra_dagster.runtime.result import RunResult

POLL_SECONDS = 0.5
"""Signals are seen between waits only (Python runs their handlers in the main thread)."""


def attended(run: Callable[[Listener], RunResult], listener: Listener) -> RunResult:
    """Run to the end and return the result; on SIGINT or SIGTERM kill what was started, and wait.

    A second signal ends the wait.
    """
    from kestra_dagster.runtime.events import StateChanged

    started: dict[str, None] = {}
    outcome: list[RunResult] = []
    failure: list[BaseException] = []

    def tell(event: Event) -> None:
        if isinstance(event, StateChanged):
            started[event.execution_id] = None
        listener(event)

    def work() -> None:
        try:
            outcome.append(run(tell))
        except BaseException as error:  # raised again on the thread that waits
            failure.append(error)

    thread = threading.Thread(target=work, name="execution", daemon=True)
    with _terminating():
        thread.start()
        try:
            _join(thread)
        except KeyboardInterrupt:
            _kill(list(started))
            _join(thread)
    if failure:
        raise failure[0]
    return outcome[0]


def _join(thread: threading.Thread) -> None:
    while thread.is_alive():
        thread.join(POLL_SECONDS)


def _kill(execution_ids: list[str]) -> None:
    from kestra_dagster.runtime.live import live_execution
    from kestra_dagster.runtime.records import TERMINAL

    found = [live_execution(one) for one in execution_ids]
    running = [one for one in found if one is not None and one.state not in TERMINAL]
    if not running:
        raise KeyboardInterrupt
    for execution in running:
        execution.kill("killed at the terminal")


@contextmanager
def _terminating() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, where this is the main thread."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
