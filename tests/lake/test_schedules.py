"""Ticks at 9:00 and 18:00 where clocks change, and processing that waits for raw."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from kestra_dagster.lake import schedules
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW

pytestmark = pytest.mark.dagster

BERLIN = ZoneInfo("Europe/Berlin")
CALENDAR = Calendar(start_date=date(2025, 1, 1), time_zone="Europe/Berlin")
GENERATION, PROCESSING = "lake_data_generation_daily", "lake_data_processing_daily"
SENSOR = "lake_processing_waits_for_raw"


@pytest.fixture(autouse=True)
def some_aws(monkeypatch) -> None:
    monkeypatch.setenv("LAKE_BUCKET", "builditall")


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return lake_definitions(CALENDAR, Lake()).get_repository_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def ticks(repository, name: str, since: datetime, count: int) -> list[datetime]:
    schedule = repository.get_schedule_def(name)
    times = schedule_execution_time_iterator(
        since.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    return [moment.astimezone(BERLIN) for moment in itertools.islice(times, count)]


def tick(repository, instance, name: str, at: datetime):
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=repository
    )
    return repository.get_schedule_def(name).evaluate_tick(context)


def materialize(instance, layer: str, day: str, tables) -> None:
    for table in tables:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey([layer, table]), partition=day)
        )


@pytest.mark.parametrize(("name", "hour"), [(GENERATION, 9), (PROCESSING, 18)])
@pytest.mark.parametrize(
    "change", [date(2025, 3, 30), date(2025, 10, 26)], ids=["spring", "autumn"]
)
def test_ticks_keep_their_hour_across_a_daylight_saving_change(
    repository, name: str, hour: int, change: date
) -> None:
    start = datetime.combine(change - timedelta(days=2), time(0), BERLIN)
    found = ticks(repository, name, start, 4)
    assert [(moment.date() - change).days for moment in found] == [-2, -1, 0, 1]
    assert {(moment.hour, moment.minute) for moment in found} == {(hour, 0)}
    offsets = {moment.utcoffset() for moment in found}
    assert len(offsets) == 2, "the change of the clock is among them"


@pytest.mark.parametrize(
    "change", [date(2025, 3, 30), date(2025, 10, 26)], ids=["spring", "autumn"]
)
def test_a_tick_makes_the_day_that_has_just_ended_also_when_the_clock_changed(
    repository, instance, change: date
) -> None:
    for back in (-1, 0, 1, 2):
        day = change + timedelta(days=back)
        at = datetime.combine(day, time(9), BERLIN)
        requests = tick(repository, instance, GENERATION, at).run_requests
        assert [request.partition_key for request in requests] == [
            (day - timedelta(days=1)).isoformat()
        ]


def test_the_time_zone_and_the_hours_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("LAKE_TIME_ZONE", "America/New_York")
    monkeypatch.setenv("LAKE_GENERATE_AT", "07:30")
    monkeypatch.setenv("LAKE_SCHEDULES", "stopped")
    repository = lake_definitions().get_repository_def()
    schedule = repository.get_schedule_def(GENERATION)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (
        "30 7 * * *",
        "America/New_York",
    )
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    raw = repository.asset_graph.get(dg.AssetKey(["raw", "orders"]))
    assert raw.partitions_def.timezone == "America/New_York"
    assert raw.freshness_policy.deadline_cron == "30 9 * * *"
    assert raw.freshness_policy.timezone == "America/New_York"


def test_before_the_first_day_is_over_there_is_nothing_to_make(repository, instance) -> None:
    at = datetime(2025, 1, 1, 9, tzinfo=BERLIN)
    assert (
        "no day since 2025-01-01 is over" in tick(repository, instance, GENERATION, at).skip_message
    )


def test_without_an_aws_nothing_starts_by_itself(repository, instance, monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "LAKE_")):
            monkeypatch.delenv(name)
    at = datetime(2025, 3, 30, 18, tzinfo=BERLIN)
    for schedule in (GENERATION, PROCESSING):
        skipped = tick(repository, instance, schedule, at)
        assert skipped.run_requests == []
        assert "no AWS to make days with: set LAKE_BUCKET" in skipped.skip_message
    assert "no AWS to make days with" in sense(repository, instance).skip_message


def test_processing_starts_when_the_raw_day_is_there(repository, instance) -> None:
    materialize(instance, "raw", "2025-03-29", RAW)
    at = datetime(2025, 3, 30, 18, tzinfo=BERLIN)
    requests = tick(repository, instance, PROCESSING, at).run_requests
    assert [request.partition_key for request in requests] == ["2025-03-29"]


def test_processing_waits_for_the_raw_day_and_says_so(repository, instance) -> None:
    materialize(instance, "raw", "2025-03-29", [table for table in RAW if table != "payments"])
    materialize(instance, "raw", "2025-03-28", RAW)
    skipped = tick(repository, instance, PROCESSING, datetime(2025, 3, 30, 18, tzinfo=BERLIN))
    assert skipped.run_requests == []
    assert "processing of 2025-03-29 waits for its raw data" in skipped.skip_message
    assert "`raw/payments` not there yet" in skipped.skip_message
    assert SENSOR in skipped.skip_message


@pytest.fixture
def at(monkeypatch):
    """Set what the sensor takes for now."""

    def set_now(*moment: int) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime(*moment, tzinfo=BERLIN)

        monkeypatch.setattr(schedules, "datetime", Clock)

    return set_now


def sense(repository, instance):
    context = dg.build_sensor_context(instance=instance, repository_def=repository)
    return repository.get_sensor_def(SENSOR).evaluate_tick(context)


def settled(instance, *days: str) -> None:
    for day in days:
        materialize(instance, "processed", day, PROCESSED)


def test_the_sensor_waits_and_starts_a_day_as_soon_as_its_raw_data_is_there(
    repository, instance, at
) -> None:
    settled(instance, "2025-03-27", "2025-03-28")
    at(2025, 3, 30, 18, 5)
    waiting = sense(repository, instance)
    assert waiting.run_requests == []
    assert "waiting for raw data of 2025-03-29" in waiting.skip_message
    materialize(instance, "raw", "2025-03-29", RAW)
    requests = sense(repository, instance).run_requests
    assert [request.partition_key for request in requests] == ["2025-03-29"]
    assert requests[0].run_key, "asked again before the run is there, it is still one run"
    settled(instance, "2025-03-29")
    assert "every day that is due is processed" in sense(repository, instance).skip_message


def test_the_sensor_leaves_a_day_alone_before_its_time(repository, instance, at) -> None:
    settled(instance, "2025-03-26", "2025-03-27", "2025-03-28")
    materialize(instance, "raw", "2025-03-29", RAW)
    at(2025, 3, 30, 17, 59)
    assert sense(repository, instance).run_requests == []


@pytest.mark.parametrize(
    ("job", "status"),
    [
        ("lake_data_processing", dg.DagsterRunStatus.STARTED),
        ("__ASSET_JOB", dg.DagsterRunStatus.FAILURE),
    ],
)
def test_the_sensor_neither_doubles_a_run_nor_repeats_one_that_failed(
    repository, instance, at, job: str, status: dg.DagsterRunStatus
) -> None:
    settled(instance, "2025-03-27", "2025-03-28")
    materialize(instance, "raw", "2025-03-29", RAW)
    instance.create_run_for_job(
        repository.get_job(job),
        status=status,
        tags={"dagster/partition": "2025-03-29"},
        asset_selection=frozenset(dg.AssetKey(["processed", table]) for table in PROCESSED),
    )
    at(2025, 3, 30, 18, 5)
    assert sense(repository, instance).run_requests == []


def test_all_that_runs_by_itself_runs_by_default(repository) -> None:
    assert {item.default_status.value for item in repository.schedule_defs} == {"RUNNING"}
    assert {item.default_status.value for item in repository.sensor_defs} == {"RUNNING"}
