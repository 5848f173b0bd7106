"""Schedules through Dagster's own scheduler and sensor loops."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from daemon import House, moment

pytestmark = pytest.mark.dagster


def scheduled(**trigger: Any) -> dict[str, Any]:
    return {
        "id": "tick",
        "namespace": "my.team",
        "tasks": [
            {
                "id": "one",
                "type": "io.kestra.plugin.core.debug.Return",
                "format": "{{ trigger.date }}",
            }
        ],
        "triggers": [{"id": "it", "type": "io.kestra.plugin.core.trigger.Schedule", **trigger}],
    }


def hour(*hours: int) -> list[str]:
    return [f"2024-05-01T{one:02d}:00:00+00:00" for one in hours]


def test_every_date_starts_one_execution_with_its_date(house):
    here = house(
        "2024-05-01T09:59:30",
        scheduled(cron="0 * * * *", timezone="UTC", labels={"at": "{{ trigger.date }}"}),
        runs=True,
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00", "10:00:05", "10:30", "11:00:01", "11:05")
    assert here.dates("tick") == hour(10, 11)
    first = here.started("tick")[0]
    assert first.tags["dagster/schedule_name"] == "tick__it"
    assert first.tags["label/at"] == "2024-05-01T10:00:00Z"
    assert first.tags["kestra/trigger"] == "it"
    assert first.tags["kestra/state"] == "SUCCESS"
    assert here.outputs(first, "one")["value"] == "2024-05-01T10:00:00Z"


def test_the_clocks_go_forward(house):
    # On 31 March 2024 Paris has no 02:30; Dagster ticks at 03:00 instead.
    here = house("2024-03-30T00:00:00", scheduled(cron="30 2 * * *", timezone="Europe/Paris"))
    with here.daemon() as daemon:
        daemon.at("2024-03-30T00:00:00")
        daemon.at("2024-03-30T01:30:01", "2024-03-30T02:30:00")
        end_all(here)
        daemon.at("2024-03-31T00:30:01", "2024-03-31T01:00:00", "2024-03-31T01:30:01")
        daemon.at("2024-04-01T00:30:01", "2024-04-01T01:30:01")
    assert here.dates("tick") == ["2024-03-30T01:30:00+00:00", "2024-04-01T00:30:00+00:00"]


def test_the_clocks_go_back(house):
    # On 27 October 2024 Paris has 02:30 twice, and Dagster ticks at the second one only.
    here = house("2024-10-26T22:00:00", scheduled(cron="30 2 * * *", timezone="Europe/Paris"))
    with here.daemon() as daemon:
        daemon.at("2024-10-26T22:00:00")
        daemon.at("2024-10-27T00:30:01")
        assert here.dates("tick") == ["2024-10-27T00:30:00+00:00"]
        end_all(here)
        daemon.at("2024-10-27T01:30:00", "2024-10-27T01:31:00", "2024-10-28T01:30:00")
    assert here.dates("tick") == ["2024-10-27T00:30:00+00:00", "2024-10-28T01:30:00+00:00"]


def test_the_clocks_go_back_for_what_runs_by_the_hour(house):
    here = house(
        "2024-10-26T23:30:00",
        scheduled(cron="0 * * * *", timezone="Europe/Paris", allowConcurrent=True),
    )
    with here.daemon() as daemon:
        daemon.at("2024-10-26T23:30:00", *(f"2024-10-27T{one:02d}:00:01" for one in range(4)))
    assert here.dates("tick") == [f"2024-10-27T{one:02d}:00:00+00:00" for one in range(4)]


def test_a_zone_half_an_hour_off(house):
    here = house(
        "2024-05-01T00:05:00",
        scheduled(cron="*/20 * * * *", timezone="Asia/Kolkata", allowConcurrent=True),
    )
    with here.daemon() as daemon:
        daemon.at("00:05", "00:10", "00:10:05", "00:20", "00:30", "00:30:05", "00:40", "00:50:05")
    # 05:40, 06:00 and 06:20 there
    assert here.dates("tick") == [
        "2024-05-01T00:10:00+00:00",
        "2024-05-01T00:30:00+00:00",
        "2024-05-01T00:50:00+00:00",
    ]


def test_seconds(house):
    here = house(
        "2024-05-01T09:59:50",
        scheduled(cron="*/20 * * * * *", withSeconds=True, timezone="UTC", allowConcurrent=True),
    )
    with here.daemon() as daemon:
        daemon.at("09:59:50", "10:00:00", "10:00:05", "10:00:20", "10:00:25", "10:00:41", "10:01")
    assert [date[11:19] for date in here.dates("tick")] == [
        "10:00:00",
        "10:00:20",
        "10:00:40",
        "10:01:00",
    ]


@pytest.mark.parametrize(
    ("recover", "expected"), [("ALL", (10, 11, 12, 13)), ("LAST", (10, 13)), ("NONE", (10,))]
)
def test_a_daemon_that_slept_through_ticks(house, recover, expected):
    here = house(
        "2024-05-01T09:59:30",
        scheduled(
            cron="0 * * * *", timezone="UTC", recoverMissedSchedules=recover, allowConcurrent=True
        ),
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00", "10:01:00")
    with here.daemon() as daemon:
        daemon.at("13:20:00", "13:21:05")
    assert here.dates("tick") == hour(*expected)


def test_missed_dates_run_one_after_the_other(house):
    here = house("2024-05-01T09:59:30", scheduled(cron="0 * * * *", timezone="UTC"))
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00")
        end_all(here)
        daemon.at("10:00:30")
    with here.daemon() as daemon:
        daemon.at("12:20:00", "12:20:30")
        assert here.dates("tick") == hour(10, 11)
        end_all(here)
        daemon.at("12:21:00")
    assert here.dates("tick") == hour(10, 11, 12)


def test_what_is_too_late_is_skipped(house):
    here = house(
        "2024-05-01T09:59:30",
        scheduled(cron="0 * * * *", timezone="UTC", lateMaximumDelay="PT30M", allowConcurrent=True),
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00")
    with here.daemon() as daemon:
        daemon.at("13:20:00", "13:21:30")
    assert here.dates("tick") == hour(10, 13)


def test_nothing_is_caught_up_from_before_it_was_known(house):
    here = house("2024-05-01T09:30:00", scheduled(cron="0 * * * *", timezone="UTC"))
    with here.daemon() as daemon:
        daemon.at("09:30:00", "09:45:00")
    assert here.dates("tick") == []


def test_an_execution_that_goes_on_holds_the_next_one(house):
    here = house("2024-05-01T09:59:30", scheduled(cron="0 * * * *", timezone="UTC"))
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00", "11:00:00", "11:01:30")
        assert here.dates("tick") == hour(10)
        here.now = moment("2024-05-01T11:20:00")
        end_all(here)
        daemon.at("11:20:05")
        assert here.dates("tick") == hour(10, 11)
        end_all(here)
        daemon.at("11:20:10", "12:00:00")
    assert here.dates("tick") == hour(10, 11, 12)


def test_stop_after(house):
    here = house(
        "2024-05-01T09:59:30", scheduled(cron="0 * * * *", timezone="UTC", stopAfter=["FAILED"])
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00")
        end_all(here, "SUCCESS")
        daemon.at("10:00:30", "11:00:00")
        end_all(here, "FAILED")
        daemon.at("11:00:30", "12:00:00", "12:02:00")
        assert here.dates("tick") == hour(10, 11)
    here.now = moment("2024-05-01T12:30:00")
    here.switch("tick__it", on=True)
    with here.daemon() as daemon:
        daemon.at("12:30:05", "13:00:00")
    assert here.dates("tick") == hour(10, 11, 13)


def test_a_person_stops_and_starts_it(house):
    here = house(
        "2024-05-01T09:59:30",
        scheduled(cron="0 * * * *", timezone="UTC", allowConcurrent=True),
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00")
    here.switch("tick__it", on=False)
    with here.daemon() as daemon:
        daemon.at("10:30:00", "11:00:00", "11:02:00")
    here.now = moment("2024-05-01T11:30:00")
    here.switch("tick__it", on=True)
    with here.daemon() as daemon:
        daemon.at("11:31:00", "12:00:00", "12:02:00")
    assert here.dates("tick") == hour(10, 12)


def test_disabled_stays_off(house):
    here = house("2024-05-01T09:59:30", scheduled(cron="0 * * * *", timezone="UTC", disabled=True))
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00", "10:02:00")
    here.switch("tick__it", on=True)
    with here.daemon() as daemon:
        daemon.at("10:30:00", "11:00:00", "11:02:00")
    assert here.dates("tick") == []


def test_dates_of_a_list(house):
    flow = scheduled(
        type="io.kestra.plugin.core.trigger.ScheduleOnDates",
        dates=["2024-05-01T12:00:00+02:00", "2024-05-01T11:15:30Z"],
        timezone="UTC",
        allowConcurrent=True,
    )
    here = house("2024-05-01T09:59:30", flow, runs=True)
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00", "10:05", "11:15:31", "11:20", "12:30")
    assert here.dates("tick") == ["2024-05-01T10:00:00+00:00", "2024-05-01T11:15:30+00:00"]
    assert here.outputs(here.started("tick")[1], "one")["value"] == "2024-05-01T11:15:30Z"


def test_a_condition_that_cannot_be_asked_fails_an_execution(house):
    here = house(
        "2024-05-01T09:59:30",
        scheduled(cron="0 * * * *", timezone="UTC", when="{{ missing }}"),
        runs=True,
    )
    with here.daemon() as daemon:
        daemon.at("09:59:30", "10:00:00")
    (run,) = here.started("tick")
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags["kestra/state"] == "FAILED"


def test_two_daemons_in_turn_start_nothing_twice_and_lose_nothing(house):
    here = house(
        "2024-05-01T09:59:30", scheduled(cron="*/10 * * * *", timezone="UTC", allowConcurrent=True)
    )
    minutes = [f"{hour:02d}:{minute:02d}:01" for hour in (10, 11) for minute in range(0, 60, 10)]
    with here.daemon() as daemon:
        daemon.at("09:59:30")
    for at in minutes:
        with here.daemon() as daemon:
            daemon.at(at)
    assert [date[11:16] for date in here.dates("tick")] == [at[:5] for at in minutes]


def test_a_run_that_was_asked_for_and_never_made_is_asked_for_again(house, monkeypatch):
    here = house("2024-05-01T09:59:30", scheduled(cron="0 * * * *", timezone="UTC"))
    with here.daemon() as daemon:
        daemon.at("09:59:30")
        monkeypatch.setattr("dagster._scheduler.scheduler._create_scheduler_run", full_disk)
        with pytest.raises(AssertionError, match="disk full"):
            daemon.at("10:00:00")
        monkeypatch.undo()
        assert here.dates("tick") == []
    with here.daemon() as daemon:
        daemon.at("10:00:20", "10:01:30")
    assert here.dates("tick") == hour(10)


def full_disk(*_: Any) -> None:
    raise OSError("disk full")


def end_all(here: House, state: str = "SUCCESS") -> None:
    for run in here.started("tick"):
        here.end(run, state)
