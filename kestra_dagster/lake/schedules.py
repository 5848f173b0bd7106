"""When days are made: raw at 9:00, processed at 18:00 or as soon after as its raw data is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta

import dagster as dg

from kestra_dagster.lake.aws import has_credentials
from kestra_dagster.lake.config import Calendar
from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW
from kestra_dagster.lake.metadata import asset_key
from kestra_dagster.orchestration.watched import watched

GENERATION, PROCESSING = "lake_data_generation", "lake_data_processing"

EXECUTOR = watched(dg.in_process_executor, at_once=True)

CATCH_UP_DAYS = 3
"""How many days back the sensor still looks for days whose raw data came late."""

_WAITING_SECONDS = 60
_NO_AWS = dg.SkipReason(
    "no AWS to make days with: set LAKE_BUCKET and AWS credentials, or use `kestra-dagster dev`"
)
_RAW_KEYS = [asset_key("raw", table) for table in RAW]
_PROCESSED_KEYS = [asset_key("processed", table) for table in PROCESSED]


def lake_jobs() -> tuple[dg.UnresolvedAssetJobDefinition, dg.UnresolvedAssetJobDefinition]:
    """Return the jobs that make the raw and the processed layer."""
    return (
        dg.define_asset_job(
            GENERATION,
            dg.AssetSelection.key_prefixes("raw"),
            description="Raw data of a day, by `data_generator.py` on a cluster of its own.",
            executor_def=EXECUTOR,
        ),
        dg.define_asset_job(
            PROCESSING,
            dg.AssetSelection.key_prefixes("processed"),
            description="Clean tables of a day, by `data_processor.py` on a cluster of its own.",
            executor_def=EXECUTOR,
        ),
    )


def lake_schedules(
    calendar: Calendar,
    generation: dg.UnresolvedAssetJobDefinition,
    processing: dg.UnresolvedAssetJobDefinition,
) -> list[dg.ScheduleDefinition]:
    """Return the schedules; each makes the last day that is over at its tick."""

    def generate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = _day_to_make(calendar, context.scheduled_execution_time)
        if isinstance(day, dg.SkipReason):
            return day
        return _request(day)

    def process(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = _day_to_make(calendar, context.scheduled_execution_time)
        if isinstance(day, dg.SkipReason):
            return day
        missing = missing_tables(context.instance, _RAW_KEYS, day)
        if missing:
            return dg.SkipReason(
                f"processing of {day} waits for its raw data: {_listed(missing)} not there yet. "
                "The sensor `lake_processing_waits_for_raw` starts it as soon as they are."
            )
        return _request(day)

    def schedule(
        name: str, job: dg.UnresolvedAssetJobDefinition, at: time, evaluate, text: str
    ) -> dg.ScheduleDefinition:
        return dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=f"{at.minute} {at.hour} * * *",
            execution_timezone=calendar.time_zone,
            execution_fn=evaluate,
            default_status=_status(calendar, dg.DefaultScheduleStatus),
            description=text,
        )

    return [
        schedule(
            f"{GENERATION}_daily",
            generation,
            calendar.generate_at,
            generate,
            "Makes the raw data of the day that has just ended.",
        ),
        schedule(
            f"{PROCESSING}_daily",
            processing,
            calendar.process_at,
            process,
            "Processes the day that has just ended; skips with the reason while its raw data "
            "is missing.",
        ),
    ]


def waiting_sensor(
    calendar: Calendar, processing: dg.UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """Return the sensor that processes days which were due before their raw data came."""

    @dg.sensor(
        name="lake_processing_waits_for_raw",
        job=processing,
        minimum_interval_seconds=_WAITING_SECONDS,
        default_status=_status(calendar, dg.DefaultSensorStatus),
        description="Starts the processing of days whose time came before their raw data did.",
    )
    def wait(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not has_credentials():
            return _NO_AWS
        requests, waiting = [], []
        for day in due_days(calendar, datetime.now(calendar.zone)):
            if not missing_tables(context.instance, _PROCESSED_KEYS, day):
                continue
            missing = missing_tables(context.instance, _RAW_KEYS, day)
            if missing:
                waiting.append(f"{day} ({_listed(missing)})")
            elif not _tried(context.instance, day):
                requests.append(_request(day, key=f"after raw {day}"))
        if requests:
            return dg.SensorResult(run_requests=requests)
        if waiting:
            return dg.SkipReason(f"waiting for raw data of {', '.join(waiting)}")
        return dg.SkipReason("every day that is due is processed, or is at it")

    return wait


def last_day(calendar: Calendar, moment: datetime) -> str | None:
    """Return the last day that is over at a moment, None before the first one is."""
    window = calendar.partitions.get_prev_partition_window(moment)
    return window and calendar.partitions.get_partition_key(window.start)


def due_days(calendar: Calendar, now: datetime) -> list[str]:
    """Return the last days whose time to be processed has come, oldest first."""
    days = []
    for back in range(CATCH_UP_DAYS):
        date = (now - timedelta(days=back)).date()
        tick = datetime.combine(date, calendar.process_at, calendar.zone)
        day = last_day(calendar, tick) if tick <= now else None
        if day:
            days.append(day)
    return days[::-1]


def missing_tables(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], day: str
) -> list[dg.AssetKey]:
    """Return the assets of which Dagster knows no materialization of a day."""
    return [
        key
        for key in keys
        if not instance.fetch_materializations(
            dg.AssetRecordsFilter(key, asset_partitions=[day]), limit=1
        ).records
    ]


def _tried(instance: dg.DagsterInstance, day: str) -> bool:
    """Say whether there is a run that processes the day, at work or ended: it is not repeated."""
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": day}), limit=50)
    return any(set(run.asset_selection or ()) & set(_PROCESSED_KEYS) for run in runs) or any(
        run.job_name == PROCESSING for run in runs
    )


def _request(day: str, key: str | None = None) -> dg.RunRequest:
    return dg.RunRequest(run_key=key, partition_key=day)


def _day_to_make(calendar: Calendar, tick: datetime) -> str | dg.SkipReason:
    if not has_credentials():
        return _NO_AWS
    day = last_day(calendar, tick)
    return day or dg.SkipReason(f"no day since {calendar.start_date} is over yet")


def _listed(keys: Sequence[dg.AssetKey]) -> str:
    return ", ".join(f"`{key.to_user_string()}`" for key in keys)


def _status(calendar: Calendar, kind):
    return kind.RUNNING if calendar.schedules == "running" else kind.STOPPED
