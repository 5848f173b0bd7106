"""Pause: hold the execution until somebody resumes it, or a time is over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.model import Task
from kestra_dagster.runtime.bodies import Body, BodyEnd
from kestra_dagster.runtime.records import TaskRun
from kestra_dagster.runtime.records_json import iso_millis
from kestra_dagster.runtime.task_run import rendered_timeout

_ENDS: Mapping[str, str | None] = {"RESUME": None, "WARN": "WARNING", "FAIL": "FAILED"}


def pause(body: Body) -> BodyEnd:
    """Wait, then run the children; what happens when the time is over is the `behavior`.

    The old `timeout` fails the Pause; where both are set the duration wins (0.21). The outputs are
    `onResume`, the inputs given by whoever resumed it, and `resumed`.
    """
    spec = body.rendered()
    timeout = rendered_timeout(body.task, body.context)
    wait, behavior = spec.pause_duration, spec.behavior
    if wait is None and timeout is not None:
        wait, behavior = timeout, "TIMEOUT"
    if body.task.branches.get("onPause"):
        body.pass_through(body.plan("onPause"), body.loop)
    outputs, in_time = _hold(body, wait)
    if not in_time:
        ended = _over(body, behavior, wait)
        if ended is not None:
            return ended
    body.update(state="RUNNING", outputs=outputs)
    well = body.pass_through(body.plan(), body.loop) if body.task.branches.get("tasks") else True
    if not in_time and well and behavior in _ENDS and _ENDS[behavior]:
        return BodyEnd(outputs, _ENDS[behavior])
    return BodyEnd(outputs)


def _hold(body: Body, wait: timedelta | None) -> tuple[dict[str, Any], bool]:
    """Wait; return the outputs, and whether somebody resumed it before the time was over."""
    execution = body.execution
    if _was_resumed(body.run):
        return dict(body.run.outputs or {}), True
    going_on = execution.continuation
    given = going_on.resumed.get(body.run.id) if going_on else None
    if given is None:
        signals = execution.platform.signals
        signals.open_pause(execution.id, body.run.id, execution.flow, body.task)
        body.update(state="PAUSED")
        what = f"for {wait}" if wait is not None else "until it is resumed"
        command = resume_command(execution.id, body.task)
        body.context.log.info(f"paused {what}; resume it with: {command}")
        seconds = wait.total_seconds() if wait is not None else None
        given = signals.await_resume(execution.id, body.run.id, execution.cancel, timeout=seconds)
    if given is None:
        return {}, False
    for secret in given.secrets:
        value: Any = given.inputs
        for part in secret.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            execution.masker.add(str(value))
    outputs: dict[str, Any] = {"resumed": {"on": iso_millis(given.on), "to": "RUNNING"}}
    if given.inputs:
        outputs["onResume"] = given.inputs
    return outputs, True


def resume_command(execution_id: str, task: Task) -> str:
    """Return the command that resumes a pause, with the inputs that have to be given."""
    asked = getattr(task.spec, "on_resume", ())
    needed = [one.id for one in asked if one.required and one.defaults is None]
    return " ".join([f"kestra-dagster resume {execution_id}", *(f"-i {id}=..." for id in needed)])


def _was_resumed(run: TaskRun) -> bool:
    """Say whether the pause was over in an earlier run of the execution, which then failed."""
    states = [state for state, _ in run.states]
    return any(one == ("PAUSED", "RUNNING") for one in pairwise(states))


def _over(body: Body, behavior: str, wait: timedelta | None) -> BodyEnd | None:
    """Return how the Pause ends because its time is over; None if it goes on."""
    if behavior == "TIMEOUT":
        raise TaskFailed(f"Timeout: nobody resumed it within {wait}")
    if behavior == "FAIL":
        return BodyEnd(state="FAILED", error=f"nobody resumed it within {wait}")
    if behavior == "CANCEL":
        body.execution.exit("CANCELLED")
        return BodyEnd(state="CANCELLED")
    return None
