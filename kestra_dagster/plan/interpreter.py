"""Run a plan in this process, with threads only where steps may overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection

from kestra_dagster.plan.gates import Board
from kestra_dagster.plan.model import Plan, Step

RunStep = Callable[[Step], Collection[str]]
"""Run one step and return the signals it emitted; what it raises stops the plan."""


def run_plan(plan: Plan, run_step: RunStep, *, stop: Callable[[], bool] = lambda: False) -> Board:
    """Run the steps of a plan by the rules of the gates and return the final board.

    A step that is alone runs on the calling thread. When a step raises, or `stop` says so, nothing
    new starts; what runs is waited for, then the first error is raised.
    """
    board = Board(plan.steps())
    finished: queue.SimpleQueue[tuple[Step, Collection[str] | BaseException]] = queue.SimpleQueue()
    running = 0
    error: BaseException | None = None
    while True:
        ready = [] if error or stop() else board.take()
        if len(ready) == 1 and not running:
            board.finish(ready[0].key, run_step(ready[0]))
            continue
        for step in ready:
            running += 1
            threading.Thread(
                target=_work, args=(step, run_step, finished), name=step.key, daemon=True
            ).start()
        if not running:
            break
        step, outcome = finished.get()
        running -= 1
        if isinstance(outcome, BaseException):
            error = error or outcome
        else:
            board.finish(step.key, outcome)
    if error:
        raise error
    return board


def _work(
    step: Step,
    run_step: RunStep,
    finished: queue.SimpleQueue[tuple[Step, Collection[str] | BaseException]],
) -> None:
    try:
        finished.put((step, run_step(step)))
    except BaseException as error:  # handed to the thread that waits, which raises it
        finished.put((step, error))
