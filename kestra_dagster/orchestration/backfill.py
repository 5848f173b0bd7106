"""Backfills: executions for past dates of a schedule, by the command line or the Dagster UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg

from kestra_dagster.executor import threaded_executor
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.triggers import Schedule, Trigger
from kestra_dagster.orchestration.dispatch import TRIGGER_TAG, Dispatch
from kestra_dagster.orchestration.schedules import ticks_of
from kestra_dagster.orchestration.sessions import Session
from kestra_dagster.orchestration.trigger_host import TriggerHost, trigger_variables
from kestra_dagster.orchestration.watched import watched
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.given import InputsInvalid, check_inputs
from kestra_dagster.runtime.secrets import Masker
from kestra_dagster.triggers.cron import parse_cron
from kestra_dagster.triggers.schedule import evaluate, timetable
from kestra_dagster.triggers.starts import Start, iso_date

BACKFILL_TAG = "kestra/backfill"
"""The tag of a run that a backfill made; it holds the date."""
CLOSEST = timedelta(hours=1)
"""Schedules that come more often have no partitions: they would be too many to choose from."""


def backfill_starts(
    flow: Flow,
    trigger: Trigger,
    since: datetime,
    until: datetime,
    host: TriggerHost,
    variables: Mapping[str, Any],
    *,
    inputs: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Start]:
    """Yield the executions of the dates between two moments, both of them among these."""
    table = timetable(trigger, host, variables)
    for moment in table.between(since - timedelta(seconds=1), until):
        start = evaluate(
            flow, trigger, moment, host, variables, more_inputs=inputs, more_labels=labels
        )
        if start is not None:
            yield start


def run_start(
    flow: Flow,
    start: Start,
    instance: dg.DagsterInstance,
    *,
    flows: Path | None = None,
    listener: Listener | None = None,
) -> Execution:
    """Run the execution of a date in this process; inputs that do not fit make one that fails."""
    from kestra_dagster.orchestration.run import execute_on_dagster

    refusal = start.error
    if refusal is None:
        try:
            check_inputs(flow, start.inputs, Masker())
        except InputsInvalid as error:
            refusal = str(error)
    session = Session(
        listener=listener,
        held=dict(start.inputs),
        trigger=start.variables,
        labels=start.labels,
        checked=refusal is None,
        refusal=refusal,
    )
    date = iso_date(start.date) if start.date else ""
    tags = {TRIGGER_TAG: start.trigger_id, BACKFILL_TAG: date}
    return execute_on_dagster(
        flow, start.inputs, instance=instance, session=session, tags=tags, flows=flows
    )


def backfill_jobs(dispatch: Dispatch, folder: Path) -> list[dg.JobDefinition]:
    """Return a job with partitions for every schedule whose dates can be partitions."""
    found = [
        _job(dispatch, flow, trigger, folder) for flow, trigger in dispatch.book.triggers.values()
    ]
    return [job for job in found if job is not None]


def _job(dispatch: Dispatch, flow: Flow, trigger: Trigger, folder: Path) -> dg.JobDefinition | None:
    partitions = dates_as_partitions(trigger)
    if partitions is None:
        return None
    name = f"{dispatch.name_of(flow, trigger)}__backfill"

    @dg.op(
        name=f"{name}__date",
        description=f"Runs `{flow.id}` for a date of its schedule `{trigger.id}`.",
        config_schema={
            "inputs": dg.Field(dg.Permissive(), default_value={}),
            "labels": dg.Field(dg.Map(str, str), default_value={}),
        },
    )
    def run_date(context) -> None:
        from kestra_dagster.orchestration.execution_resource import platform_of

        host = TriggerHost(flow, platform_of(context.instance, dispatch.types).kv)
        variables = trigger_variables(flow, host)
        moment = context.partition_time_window.start.astimezone(timezone.utc)
        asked = context.op_config
        starts = list(
            backfill_starts(
                flow,
                trigger,
                moment,
                moment,
                host,
                variables,
                inputs=asked["inputs"],
                labels=asked["labels"],
            )
        )
        if not starts:
            context.log.info("the conditions of the schedule do not let this date pass")
            return
        execution = run_start(flow, starts[0], context.instance, flows=folder)
        context.log.info(f"run {execution.run_id} ended {execution.state}")
        if execution.state not in ("SUCCESS", "WARNING"):
            raise dg.Failure(
                f"the execution of {starts[0].variables['date']} ended {execution.state}",
                metadata={"run": dg.MetadataValue.dagster_run(execution.run_id)},
                allow_retries=False,
            )
        context.add_output_metadata({"run": dg.MetadataValue.dagster_run(execution.run_id)})

    graph = dg.GraphDefinition(name=name, node_defs=[run_date])
    return graph.to_job(
        partitions_def=partitions,
        executor_def=watched(threaded_executor, at_once=True),
        description=(
            f"Backfills of `{flow.id}`: each partition is a date of its schedule `{trigger.id}`, "
            "and starts an execution of the flow with that `trigger.date`."
        ),
        tags={"kestra/namespace": flow.namespace, "kestra/backfills": flow.id},
    )


def dates_as_partitions(trigger: Trigger) -> dg.TimeWindowPartitionsDefinition | None:
    """Return the dates of a schedule since the year before this one; None where there is no way.

    Dagster's partitions are minutes apart at least and follow its own cron expressions.
    """
    spec = trigger.spec
    if not isinstance(spec, Schedule) or spec.with_seconds:
        return None
    crons, zone = ticks_of(trigger)
    if not isinstance(crons, str) or _closest(spec) < CLOSEST:
        return None
    year = datetime.now(timezone.utc).year - 1
    return dg.TimeWindowPartitionsDefinition(
        start=datetime(year, 1, 1),
        cron_schedule=crons,
        timezone=zone,
        fmt="%Y-%m-%d-%H:%M",
        end_offset=1,
    )


def _closest(spec: Schedule) -> timedelta:
    """Return how close two dates of a schedule lie at most, by the minutes and hours alone."""
    cron = parse_cron(spec.cron)
    if len(cron.minutes) > 1:
        minutes = sorted(cron.minutes)
        return timedelta(minutes=min(b - a for a, b in pairwise(minutes)))
    return timedelta(hours=1)
