"""Polling triggers as Dagster sensors: every `interval` a tick looks, and what is found starts."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError, TaskMisconfigured
from kestra_dagster.expressions import ExpressionError
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import RUN, dynamic_fields, has_template
from kestra_dagster.flow.triggers import Trigger, polled_properties
from kestra_dagster.orchestration.dispatch import Dispatch
from kestra_dagster.orchestration.instances import instance_of
from kestra_dagster.orchestration.trigger_desk import Desk, is_enabled
from kestra_dagster.orchestration.trigger_host import TriggerHost
from kestra_dagster.runtime.cancellation import CancelToken
from kestra_dagster.runtime.storage import ExecutionStorage, execution_prefix
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.triggers.conditions import ConditionContext, all_hold, when_holds
from kestra_dagster.triggers.starts import (
    Start,
    about_trigger,
    iso_date,
    rendered_inputs,
    rendered_labels,
    trigger_key,
)

REALTIME = 5
"""Seconds between two looks of a trigger that starts an execution for each message."""


def polling_sensor(dispatch: Dispatch, flow: Flow, trigger: Trigger) -> dg.SensorDefinition:
    """Return the sensor of a polling trigger."""
    enabled = is_enabled(flow, trigger)

    def evaluate(context: dg.SensorEvaluationContext):
        if not enabled:
            return dg.SkipReason("it is disabled in the flow")
        return _tick(context, dispatch, flow, trigger)

    interval = getattr(trigger.spec, "interval", None)
    return dg.SensorDefinition(
        name=dispatch.name_of(flow, trigger),
        job_name=dispatch.jobs[flow.namespace, flow.id],
        evaluation_fn=evaluate,
        minimum_interval_seconds=max(1, round(interval.total_seconds())) if interval else REALTIME,
        description=trigger.spec.description or f"Kestra's {trigger.type}",
        default_status=(
            dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED
        ),
        tags={"kestra/namespace": flow.namespace, "kestra/type": trigger.type},
    )


def _tick(context: dg.SensorEvaluationContext, dispatch: Dispatch, flow: Flow, trigger: Trigger):
    key, instance = trigger_key(flow, trigger), instance_of(context)
    desk = dispatch.desk(instance)
    with desk.store.work() as work:
        locked = desk.is_held(work, trigger, key)
        memory = work.get(f"poll:{key}") or {}
        waiting = dispatch.requests(instance, work, lambda asked: asked.trigger == key)
    if locked:
        return waiting or dg.SkipReason("its last execution has not ended")
    starts, found = look(desk, flow, trigger, memory)
    with _or_abandoned(found), desk.store.work() as work:
        work.put(f"poll:{key}", found.memory or None)
        for start in starts:
            work.add(start, key, desk.about(flow)[0].now())
        asked_now = dispatch.requests(instance, work, lambda asked: asked.trigger == key)
    try:
        found.finish()
    except KestraDagsterError as error:
        # What was found is safe: the next look finishes what this one could not.
        context.log.warning(desk.about(flow)[0].masked(str(error)))
    return [*waiting, *asked_now] or dg.SkipReason("there is nothing that fits")


def look(
    desk: Desk, flow: Flow, trigger: Trigger, memory: Mapping[str, Any]
) -> tuple[list[Start], Found]:
    """Look once, and say what that starts and what is to be remembered of it.

    Raise what the look raises, unless the trigger wants to fail an execution then.
    """
    host, variables = desk.about(flow)
    key = f"{trigger_key(flow, trigger)}@{uuid.uuid4().hex}"
    date = {"date": iso_date(host.now().replace(microsecond=0))}
    own = {**date, **about_trigger(trigger)}
    early = _passes(flow, trigger, host, {**variables, "trigger": own}, late=False)
    if early is False:
        return [], Found(None, memory)
    context = PollContext(desk, flow, trigger, key)
    try:
        found = _polled(trigger, context).poll(context, memory)  # type: ignore[arg-type]
    except KestraDagsterError as error:
        if not trigger.spec.fail_on_trigger_error:
            raise
        why = f"the trigger `{trigger.id}` failed: {error}"
        return [_start(flow, trigger, key, own, error=host.masked(why))], Found(None, memory)
    finally:
        context.close()
    starts: list[Start] = []
    with _or_abandoned(found):
        for number, outputs in enumerate(found.each()):
            own = {**dict(outputs), **about_trigger(trigger)}
            inside = {**variables, "trigger": {**date, **own}}
            if early is None and not _passes(flow, trigger, host, inside, late=True):
                continue
            inputs = rendered_inputs(trigger, inside, host)
            labels = rendered_labels(trigger, inside, host)
            start = _start(flow, trigger, f"{key}-{number}", own, inputs, labels)
            starts.append(start if number else replace(start, key=key, files=context.files))
        if found.outputs is not None and not starts:
            found.abandon()
            return [], Found(None, memory)
    return starts, found


@contextmanager
def _or_abandoned(found: Found) -> Iterator[None]:
    """Abandon what was found where the block does not end well."""
    try:
        yield
    except BaseException:
        found.abandon()
        raise


def _start(
    flow: Flow,
    trigger: Trigger,
    key: str,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    error: str | None = None,
) -> Start:
    return Start(
        key,
        flow.namespace,
        flow.id,
        trigger.id,
        variables,
        inputs or {},
        labels or {},
        error=error,
    )


def _passes(
    flow: Flow, trigger: Trigger, host: TriggerHost, variables: Mapping[str, Any], *, late: bool
) -> bool | None:
    """Say whether the conditions hold; None where they ask for what a look has to bring."""
    context = ConditionContext(flow.namespace, flow.id, variables, host)
    try:
        return all_hold(trigger.spec.conditions, context) and when_holds(trigger.spec.when, context)
    except ExpressionError:
        if late:
            raise
        return None


def _polled(trigger: Trigger, context: PollContext) -> Poll:
    """Return what a trigger looks for, with its templates rendered."""
    polls = trigger.polls
    assert isinstance(polls, Poll)
    properties = polled_properties(trigger.type, trigger.properties)
    names = [name for name in dynamic_fields(type(polls)) if has_template(properties.get(name))]
    if not names:
        return polls
    rendered = dict(properties)
    for name in names:
        rendered[name] = context.render_value(properties[name])
    try:
        return type(polls).model_validate(rendered, context=RUN)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise TaskMisconfigured(
            f"`{name}` of the trigger `{trigger.id}` has the wrong value after rendering: "
            f"{problem['msg']}"
        ) from None


def start_files(flow: Flow, key: str) -> str:
    """Return where internal storage keeps what comes with a start, before it has an execution."""
    return execution_prefix(flow.namespace, flow.id, f"start-{key.rpartition('@')[2]}")


class _Silent:
    """Where a look's log and metrics go: nobody waits for them before there is an execution."""

    def __call__(self, *arguments: Any, **named: Any) -> None:
        return None

    def __getattr__(self, name: str) -> _Silent:
        return self


class PollContext:
    """What a polling trigger sees of its flow: the part of a task's context that needs no run."""

    def __init__(self, desk: Desk, flow: Flow, trigger: Trigger, key: str) -> None:
        self._host, self.variables = desk.about(flow)
        self._folder: Path | None = None
        self.cancel = CancelToken()
        self.log = _Silent()
        self.metric = _Silent()
        self.kv = desk.platform.kv
        self.namespace_files = desk.platform.namespace_files
        self.files = start_files(flow, key)
        self.storage = ExecutionStorage(desk.platform.store, self.files).task(trigger.id, "poll")

    @property
    def working_dir(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kestra-"))
        return self._folder

    def render(self, template: str, extra: Mapping[str, Any] | None = None) -> str:
        return expressions.render(template, {**self.variables, **(extra or {})}, self._host)

    def render_typed(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        return expressions.render_typed(value, {**self.variables, **(extra or {})}, self._host)

    def render_value(self, value: Any) -> Any:
        return expressions.render_value(value, self.variables, self._host)

    def encrypt(self, value: str) -> Any:
        from kestra_dagster.runtime.encryption import encrypted

        return encrypted(value)

    def close(self) -> None:
        """Remove the working folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
