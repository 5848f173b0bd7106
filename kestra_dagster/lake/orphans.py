"""The sensor that terminates clusters whose run has ended without terminating them."""

# Dagster reads the annotations of sensors: no `from __future__ import annotations` here.

import os
from collections.abc import Iterator

import dagster as dg

from kestra_dagster.lake.aws import Calls
from kestra_dagster.lake.cluster import active_clusters, emr_calls
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.layer_run import RUN_TAG

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
        description="Terminates EMR clusters whose run has ended: its process was killed, or EMR "
        "could not be reached.",
    )
    def terminate_orphan_clusters(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SkipReason:
        if not has_credentials():
            return dg.SkipReason("no AWS credentials here, so no clusters")
        calls = emr_calls(lake, context.log.info).patient(_PATIENCE)
        ended = list(orphans(calls, context.instance))
        if not ended:
            return dg.SkipReason("every cluster belongs to a run at work")
        for cluster, why in ended:
            calls("terminate_job_flows", JobFlowIds=[cluster])
            context.log.info(f"terminated cluster `{cluster}`: {why}")
        return dg.SkipReason(
            "terminated " + ", ".join(f"`{cluster}` ({why})" for cluster, why in ended)
        )

    return terminate_orphan_clusters


def orphans(calls: Calls, instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    """Yield the clusters of runs that have ended, and why each is one.

    A run that the instance does not know may be another instance's: its cluster is not touched.
    """
    for summary in active_clusters(calls):
        cluster = calls("describe_cluster", ClusterId=summary["Id"])["Cluster"]
        tags = {tag["Key"]: tag["Value"] for tag in cluster.get("Tags", [])}
        run = instance.get_run_by_id(tags[RUN_TAG]) if RUN_TAG in tags else None
        if run is not None and run.is_finished:
            yield summary["Id"], f"run {run.run_id} is {run.status.value}"


def has_credentials() -> bool:
    """Look without asking: a machine outside of AWS would wait for a metadata server."""
    named = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
    more = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ENDPOINT_URL_EMR", "LAKE_BUCKET")
    return any(os.environ.get(name) for name in (*named, *more))
