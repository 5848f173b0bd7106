from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from samples import FixedHost, load_trigger

from kestra_dagster.triggers.schedule import evaluate, starts_due

C = "io.kestra.plugin.core.condition."
UTC = timezone.utc


def at(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def start_at(date: str, **properties: Any):
    flow, trigger = load_trigger(**properties)
    return evaluate(flow, trigger, at(date), FixedHost(at(date)), {"flow": {"id": "down"}})


def shown(start) -> dict[str, Any]:
    return {key: value for key, value in start.variables.items() if key != "_context"}


def test_the_date_and_its_neighbours_in_the_zone_of_the_trigger():
    start = start_at("2022-04-01T13:12:00Z", cron="12 9 1 * *", timezone="America/New_York")
    assert shown(start) == {
        "date": "2022-04-01T09:12:00-04:00",
        "next": "2022-05-01T09:12:00-04:00",
        "previous": "2022-03-01T09:12:00-05:00",
    }
    assert start.variables["_context"] == {
        "id": "it",
        "type": "io.kestra.plugin.core.trigger.Schedule",
    }
    assert start.key == "my.team/down/it@2022-04-01T13:12:00+00:00"


def test_without_a_zone_it_is_the_zone_of_the_server():
    assert start_at("2024-05-01T07:00:00Z", cron="0 9 * * *").variables["date"] == (
        "2024-05-01T09:00:00+02:00"
    )


def test_inputs_and_labels_see_the_date():
    start = start_at(
        "2024-05-01T00:00:00Z",
        cron="@daily",
        timezone="UTC",
        inputs={"day": "{{ trigger.date | date('yyyyMMdd') }}", "n": 3, "deep": ["{{ flow.id }}"]},
        labels={"on": "{{ trigger.date }}", "none": "{{ null }}", "flag": True},
    )
    assert start.inputs == {"day": "20240501", "n": 3, "deep": ["down"]}
    assert start.labels == {"on": "2024-05-01T00:00:00Z", "none": "", "flag": "true"}


def test_conditions_select_the_neighbours_too():
    first_monday = {
        "type": f"{C}DayWeekInMonth",
        "dayOfWeek": "MONDAY",
        "dayInMonth": "FIRST",
    }
    start = start_at(
        "2021-08-02T10:00:00Z",
        cron="0 12 * * *",
        timezone="Europe/Paris",
        conditions=[first_monday],
    )
    assert shown(start) == {
        "date": "2021-08-02T12:00:00+02:00",
        "next": "2021-09-06T12:00:00+02:00",
        "previous": "2021-07-05T12:00:00+02:00",
    }
    other = start_at(
        "2021-08-03T10:00:00Z", cron="0 12 * * *", timezone="UTC", conditions=[first_monday]
    )
    assert other is None


def test_when_selects_like_conditions():
    start = start_at(
        "2024-05-06T09:00:00Z",
        cron="0 9 * * *",
        timezone="UTC",
        when="{{ not isWeekend(trigger.date) and dayOfMonth(trigger.date) != 3 }}",
    )
    assert shown(start)["previous"] == "2024-05-02T09:00:00Z"
    assert shown(start)["next"] == "2024-05-07T09:00:00Z"


def test_no_next_date_that_passes():
    start = start_at(
        "2021-08-02T10:00:00Z",
        cron="* * * * *",
        timezone="UTC",
        conditions=[{"type": f"{C}DateTimeBetween", "before": "2021-08-02T10:00:30Z"}],
    )
    assert shown(start)["previous"] == "2021-08-02T09:59:00Z"
    assert "next" not in shown(start)


def test_a_condition_that_cannot_be_answered_makes_a_failed_execution():
    start = start_at(
        "2024-05-01T00:00:00Z",
        cron="@daily",
        timezone="UTC",
        conditions=[{"type": f"{C}Expression", "expression": "{{ missing }}"}],
    )
    assert "`missing` not found" in start.error
    assert start.variables["date"] == "2024-05-01T00:00:00Z"


def test_inputs_that_cannot_be_rendered_make_a_failed_execution():
    start = start_at("2024-05-01T00:00:00Z", cron="@daily", inputs={"a": "{{ missing }}"})
    assert "the trigger `it` cannot be evaluated" in start.error


def test_dates_of_a_list():
    dates = ["2024-05-03T10:00:00+02:00", "2024-05-01T08:00:00Z"]
    flow, trigger = load_trigger(type="ScheduleOnDates", dates=dates, timezone="UTC")
    host = FixedHost(at("2024-05-03T08:00:01Z"))
    found, through = starts_due(
        flow, trigger, at("2024-04-01T00:00:00Z"), host.now(), host, {}, limit=9
    )
    assert [shown(start) for start in found] == [
        {"date": "2024-05-01T08:00:00Z"},
        {"date": "2024-05-03T08:00:00Z"},
    ]
    assert through == host.now()


def due(now: str, since: str, limit: int = 99, **properties: Any) -> list[str]:
    flow, trigger = load_trigger(cron="0 * * * *", timezone="UTC", **properties)
    host = FixedHost(at(now))
    found, _ = starts_due(flow, trigger, at(since), host.now(), host, {}, limit=limit)
    return [start.date.strftime("%H:%M") for start in found]


def test_missed_dates_are_all_recovered():
    assert due("2024-05-01T10:00:30Z", "2024-05-01T06:00:00Z") == [
        "07:00",
        "08:00",
        "09:00",
        "10:00",
    ]


@pytest.mark.parametrize(
    ("now", "recover", "expected"),
    [
        ("2024-05-01T10:00:30Z", "LAST", ["09:00", "10:00"]),
        ("2024-05-01T10:30:00Z", "LAST", ["10:00"]),
        ("2024-05-01T10:30:00Z", "NONE", []),
        ("2024-05-01T10:00:30Z", "NONE", ["10:00"]),
    ],
)
def test_missed_dates_by_choice(now, recover, expected):
    assert due(now, "2024-05-01T06:00:00Z", recoverMissedSchedules=recover) == expected


def test_the_last_missed_date_is_one_that_passes():
    found = due(
        "2024-05-01T10:30:00Z",
        "2024-05-01T06:00:00Z",
        recoverMissedSchedules="LAST",
        when="{{ hourOfDay(trigger.date) < 9 }}",
    )
    assert found == ["08:00"]


def test_what_is_too_late_is_skipped():
    assert due("2024-05-01T10:20:00Z", "2024-05-01T06:00:00Z", lateMaximumDelay="PT1H20M") == [
        "09:00",
        "10:00",
    ]
    assert due("2024-05-01T10:20:01Z", "2024-05-01T06:00:00Z", lateMaximumDelay="PT1H20M") == [
        "10:00"
    ]


def test_a_limit_leaves_the_rest_for_later():
    flow, trigger = load_trigger(cron="0 * * * *", timezone="UTC")
    host = FixedHost(at("2024-05-01T10:00:30Z"))
    since = at("2024-05-01T06:00:00Z")
    found, through = starts_due(flow, trigger, since, host.now(), host, {}, limit=1)
    assert [start.date.hour for start in found] == [7]
    assert through == at("2024-05-01T07:00:00Z")
    found, through = starts_due(
        flow, trigger, through, host.now() + timedelta(0), host, {}, limit=2
    )
    assert [start.date.hour for start in found] == [8, 9]
