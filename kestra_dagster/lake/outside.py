"""Days that were published past the assets, by Kestra flows or by hand, as materializations."""

# Dagster reads the annotations of sensors: no `from __future__ import annotations` here.

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from kestra_dagster.lake.aws import has_credentials
from kestra_dagster.lake.bucket import Bucket, lake_bucket
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.jobs import layout
from kestra_dagster.lake.jobs.catalog import tables
from kestra_dagster.lake.layer_run import OWN_VERSION
from kestra_dagster.lake.metadata import asset_key, day_metadata
from kestra_dagster.lake.publications import published, utc_now

LAYERS = ("raw", "processed")
_EVERY_SECONDS = 30
_RECORDED_WITHIN = timedelta(minutes=10)
"""How long after it published a day an asset's own run may record that."""


def outside_sensor(calendar: Calendar) -> dg.SensorDefinition:
    """Return the sensor; its cursor is the last publication that it has seen of each layer."""
    running = calendar.schedules == "running"

    @dg.sensor(
        name="lake_days_published_by_others",
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING
        if running
        else dg.DefaultSensorStatus.STOPPED,
        description="Records days of raw/ and processed/ that Kestra flows, or jobs submitted by "
        "hand, have published, so that they are in the asset graph too.",
    )
    def record_days_published_by_others(
        context: dg.SensorEvaluationContext, lake: Lake
    ) -> dg.SensorResult:
        if not has_credentials():
            return dg.SensorResult(skip_reason="no AWS credentials here, so no bucket")
        bucket = lake_bucket(lake.model_copy(update={"api_patience_seconds": 20}))
        cursor: dict[str, str] = json.loads(context.cursor or "{}")
        events: list[dg.AssetMaterialization] = []
        for layer in LAYERS:
            for name, day in _publications(bucket, layer, cursor.get(layer, ""), utc_now()):
                events += _materializations(context.instance, lake, bucket, layer, day)
                cursor[layer] = name
        return dg.SensorResult(
            asset_events=events,
            cursor=json.dumps(cursor),
            skip_reason=None if events else "nothing was published by others",
        )

    return record_days_published_by_others


def _publications(
    bucket: Bucket, layer: str, after: str, now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield name and day of the publications that others made since the one named, in order."""
    prefix = f"{layer}/_published/dt="
    keys = [item.key[len(prefix) :] for item in bucket.list(prefix)]
    found = sorted((name, day) for day, _, name in (key.partition("/") for key in keys))
    fresh = f"{now - _RECORDED_WITHIN:%Y%m%dT%H%M%S}"
    for name, day in found:
        own = layout.version_of(name).startswith(OWN_VERSION)
        if name > after and not (own and name > fresh):
            yield name, day


def _materializations(
    instance: dg.DagsterInstance, lake: Lake, bucket: Bucket, layer: str, day: str
) -> list[dg.AssetMaterialization]:
    """Return what to record of a day, nothing if Dagster knows its published version."""
    manifest = published(bucket, layer, day)
    if manifest is None:
        return []
    version = manifest["version"]
    return [
        dg.AssetMaterialization(
            asset_key(layer, table.name),
            partition=day,
            metadata={**day_metadata(lake, table, manifest), **_maker(instance, version)},
        )
        for table in tables(layer).values()
        if _recorded_version(instance, layer, table.name, day) != version
    ]


def _maker(instance: dg.DagsterInstance, version: str) -> dict[str, Any]:
    """Return a link to the flow's run, if the version is named after its execution."""
    run = instance.get_run_by_id(version)
    if run is None:
        return {"published_by": version}
    return {"published_by": run.job_name, "run": dg.MetadataValue.dagster_run(run.run_id)}


def _recorded_version(instance: dg.DagsterInstance, layer: str, table: str, day: str) -> str | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key(layer, table), asset_partitions=[day]), limit=1
    ).records
    event = records[0].asset_materialization if records else None
    value = event.metadata.get("version") if event else None
    return str(value.value) if value is not None else None
