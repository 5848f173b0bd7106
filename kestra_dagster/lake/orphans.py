"""The sensor that terminates clusters which no run works with any more."""

# Dagster reads the annotations of sensors: no `from __future__ import annotations` here.

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import dagster as dg

from kestra_dagster.lake.aws import Calls, has_credentials
from kestra_dagster.lake.cluster import ALIVE_TAG, active_clusters, emr_calls
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.layer_run import RUN_TAG
from kestra_dagster.lake.serverless import active_job_runs, serverless_calls

_EVERY_SECONDS = 60
_PATIENCE = 20.0
"""Seconds: a sensor's tick has 60, and the next one comes soon."""


def orphan_sensor(calendar: Calendar) -> dg.SensorDefinition:
    """Return the sensor; it sees clusters of this Dagster instance only."""
    running = calendar.schedules == "running"

    @dg.sensor(
        name="terminate_orphan_clusters",
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING
        if running
        else dg.DefaultSensorStatus.STOPPED,
        description="Terminates EMR clusters whose run is not at work any more: its process was "
        "killed, Dagster was restarted, or EMR could not be reached.",
    )
    def terminate_orphan_clusters(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SkipReason:
        if not has_credentials():
            return dg.SkipReason("no AWS credentials here, so no clusters")
        ended = [
            *_clusters(emr_calls(lake, context.log.info).patient(_PATIENCE), context.instance, lake)
        ]
        if lake.serverless_application_id:
            calls = serverless_calls(lake, context.log.info).patient(_PATIENCE)
            ended += _job_runs(calls, context.instance, lake)
        if not ended:
            return dg.SkipReason("every cluster belongs to a run at work")
        for orphan in ended:
            orphan.end()
            context.log.info(f"terminated {orphan}")
        return dg.SkipReason(f"terminated {', '.join(map(str, ended))}")

    return terminate_orphan_clusters


@dataclass(frozen=True)
class Orphan:
    """What costs money for nobody, why that is known, and the call that ends it."""

    id: str
    why: str
    end: Callable[[], object]

    def __str__(self) -> str:
        return f"`{self.id}` ({self.why})"


def _clusters(calls: Calls, instance: dg.DagsterInstance, lake: Lake) -> Iterator[Orphan]:
    for summary in active_clusters(calls):
        id = summary["Id"]
        cluster = calls("describe_cluster", ClusterId=id)["Cluster"]
        tags = {tag["Key"]: tag["Value"] for tag in cluster.get("Tags", [])}
        if why := _left(tags, instance, lake):
            yield Orphan(id, why, partial(calls, "terminate_job_flows", JobFlowIds=[id]))


def _job_runs(calls: Calls, instance: dg.DagsterInstance, lake: Lake) -> Iterator[Orphan]:
    for summary in active_job_runs(calls, lake):
        which = {"applicationId": lake.serverless_application_id, "jobRunId": summary["id"]}
        tags = calls("get_job_run", **which)["jobRun"].get("tags", {})
        if why := _left(tags, instance, lake):
            yield Orphan(summary["id"], why, partial(calls, "cancel_job_run", **which))


def _left(tags: Mapping[str, str], instance: dg.DagsterInstance, lake: Lake) -> str | None:
    """Return why nobody works with what has these tags, None if somebody may.

    A run that the instance does not know may be another instance's: what is its is not touched. One
    that looks busy may have died with its Dagster; it has stopped saying that it is alive.
    """
    run = instance.get_run_by_id(tags[RUN_TAG]) if RUN_TAG in tags else None
    if run is None:
        return None
    if run.is_finished:
        return f"run {run.run_id} is {run.status.value}"
    silent = time.time() - float(tags.get(ALIVE_TAG, "inf"))
    if silent > lake.silence_allowed:
        return f"run {run.run_id} is silent since {silent:.0f} s"
    return None
