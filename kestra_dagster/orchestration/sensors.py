"""The sensors of a location: one for every trigger that goes by no dates, and one for all."""

from __future__ import annotations

import dagster as dg

from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import FlowTrigger, Schedule, ScheduleOnDates, Trigger, Webhook
from kestra_dagster.orchestration.dispatch import Dispatch
from kestra_dagster.orchestration.polling import polling_sensor
from kestra_dagster.orchestration.trigger_desk import is_enabled
from kestra_dagster.orchestration.trigger_sensor import SENSOR, trigger_sensor

SWITCH_SECONDS = 24 * 60 * 60
"""How often a sensor ticks that is only there to be stopped and started."""


def sensors(dispatch: Dispatch, jobs: list[dg.JobDefinition]) -> list[dg.SensorDefinition]:
    """Return the sensors for the triggers of a location."""
    found = [
        polling_sensor(dispatch, flow, trigger)
        if trigger.polls is not None
        else _switch(dispatch, flow, trigger)
        for flow, trigger in dispatch.book.triggers.values()
        if not isinstance(trigger.spec, (Schedule, ScheduleOnDates))
    ]
    hub = trigger_sensor(dispatch, jobs)
    return [*found, hub] if hub is not None else found


def _switch(dispatch: Dispatch, flow: Flow, trigger: Trigger) -> dg.SensorDefinition:
    enabled = is_enabled(flow, trigger) and isinstance(trigger.spec, (FlowTrigger, Webhook))
    why = _why(flow, trigger, enabled)
    return dg.SensorDefinition(
        name=dispatch.name_of(flow, trigger),
        job_name=dispatch.jobs[flow.namespace, flow.id],
        evaluation_fn=lambda context: dg.SkipReason(why),
        minimum_interval_seconds=SWITCH_SECONDS,
        description=trigger.spec.description or f"The switch of Kestra's {trigger.type}. {why}",
        default_status=(
            dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED
        ),
        tags={"kestra/namespace": flow.namespace, "kestra/type": trigger.type},
    )


def _why(flow: Flow, trigger: Trigger, enabled: bool) -> str:
    """Say why the sensor of a trigger starts nothing itself."""
    if isinstance(trigger.spec, FlowTrigger):
        why = f"while this is on, `{SENSOR}` starts the flow as soon as another one asks for it"
    elif isinstance(trigger.spec, Webhook):
        why = "while this is on, the webhook app starts the flow on a request"
    else:
        return f"{trigger.written_type} is not supported yet"
    return why if enabled else f"it is disabled in the flow; else {why}"
