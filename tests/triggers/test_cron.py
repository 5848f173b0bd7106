from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestra_dagster.triggers.cron import parse_cron

UTC = timezone.utc
PARIS = ZoneInfo("Europe/Paris")


def at(text: str, zone=UTC) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("* * * * *", "2024-05-01T10:07:00", "2024-05-01T10:08:00"),
        ("*/15 * * * *", "2024-05-01T10:07:01", "2024-05-01T10:15:00"),
        ("5/20 * * * *", "2024-05-01T10:26:00", "2024-05-01T10:45:00"),
        ("0 0 1 * *", "2024-05-01T00:00:00", "2024-06-01T00:00:00"),
        ("0 0 29 2 *", "2024-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 9 * * MON-FRI", "2024-05-03T09:00:00", "2024-05-06T09:00:00"),
        ("0 9 * * 7", "2024-05-01T00:00:00", "2024-05-05T09:00:00"),
        ("0 9 * * 0", "2024-05-01T00:00:00", "2024-05-05T09:00:00"),
        ("0 9 * * 5-0", "2024-05-04T09:00:00", "2024-05-05T09:00:00"),
        ("0 0 * jan,JUL *", "2024-01-31T00:00:00", "2024-07-01T00:00:00"),
        ("@hourly", "2024-05-01T10:00:00", "2024-05-01T11:00:00"),
        ("@weekly", "2024-05-01T10:00:00", "2024-05-05T00:00:00"),
        ("@YEARLY", "2024-05-01T10:00:00", "2025-01-01T00:00:00"),
        # both kinds of day set: either will do
        ("0 0 13 * FRI", "2024-09-07T00:00:00", "2024-09-13T00:00:00"),
        ("0 0 13 * FRI", "2024-09-13T00:00:00", "2024-09-20T00:00:00"),
    ],
)
def test_next(cron, after, expected):
    assert parse_cron(cron).after(at(after), UTC) == at(expected)


def test_seconds():
    cron = parse_cron("*/20 30 * * * *", with_seconds=True)
    found = list(cron.between(at("2024-05-01T10:29:59"), at("2024-05-01T11:30:00"), UTC))
    assert [f"{when:%H:%M:%S}" for when in found] == [
        "10:30:00",
        "10:30:20",
        "10:30:40",
        "11:30:00",
    ]
    assert parse_cron("@daily", with_seconds=True).text == "0 0 0 * * *"


def test_parts_of_a_second_do_not_matter():
    cron = parse_cron("* * * * *")
    assert cron.after(at("2024-05-01T10:07:59.999999"), UTC) == at("2024-05-01T10:08:00")
    assert cron.before(at("2024-05-01T10:08:00.000001"), UTC) == at("2024-05-01T10:08:00")
    assert cron.before(at("2024-05-01T10:08:00"), UTC) == at("2024-05-01T10:07:00")


def test_never():
    assert parse_cron("0 0 30 2 *").after(at("2024-01-01T00:00:00"), UTC) is None
    assert parse_cron("0 0 30 2 *").before(at("2024-01-01T00:00:00"), UTC) is None


def days(cron: str, zone, start: str, end: str) -> list[str]:
    found = parse_cron(cron).between(at(start, zone), at(end, zone), zone)
    return [when.isoformat() for when in found]


def test_spring_skips_what_the_clock_skips():
    # On 31 March 2024 Paris goes from 02:00 to 03:00.
    assert days("30 2 * * *", PARIS, "2024-03-30T00:00", "2024-04-01T12:00") == [
        "2024-03-30T02:30:00+01:00",
        "2024-04-01T02:30:00+02:00",
    ]
    assert days("0 * * * *", PARIS, "2024-03-31T00:30", "2024-03-31T04:30") == [
        "2024-03-31T01:00:00+01:00",
        "2024-03-31T03:00:00+02:00",
        "2024-03-31T04:00:00+02:00",
    ]


def test_autumn_runs_daily_things_once_and_hourly_ones_twice():
    # On 27 October 2024 Paris goes from 03:00 back to 02:00.
    assert days("30 2 * * *", PARIS, "2024-10-27T00:00", "2024-10-28T12:00") == [
        "2024-10-27T02:30:00+02:00",
        "2024-10-28T02:30:00+01:00",
    ]
    assert days("0 * * * *", PARIS, "2024-10-27T01:30", "2024-10-27T03:30") == [
        "2024-10-27T02:00:00+02:00",
        "2024-10-27T02:00:00+01:00",
        "2024-10-27T03:00:00+01:00",
    ]
    daily = parse_cron("30 2 * * *")
    assert daily.before(at("2024-10-28T00:00", PARIS), PARIS).isoformat() == (
        "2024-10-27T02:30:00+02:00"
    )


def test_midnight_that_does_not_exist():
    # Beirut skips 00:00 on 31 March 2024.
    beirut = ZoneInfo("Asia/Beirut")
    assert days("0 0 * * *", beirut, "2024-03-30T12:00", "2024-04-01T12:00") == [
        "2024-04-01T00:00:00+03:00"
    ]
    assert days("30 1 * * *", beirut, "2024-03-30T12:00", "2024-03-31T12:00") == [
        "2024-03-31T01:30:00+03:00"
    ]


FIELDS = st.tuples(
    st.sampled_from(["0", "30", "*/7", "5,50", "*"]),
    st.sampled_from(["*", "2", "0-3", "*/5", "23", "1,2,3"]),
    st.sampled_from(["*", "1", "15", "*/9", "31", "28-31"]),
    st.sampled_from(["*", "3", "10", "2", "*/2"]),
    st.sampled_from(["*", "0", "MON", "1-5", "*/3", "6,7"]),
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
MOMENTS = st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))


@settings(max_examples=150, deadline=None)
@given(FIELDS, ZONES, MOMENTS)
def test_dates_are_those_that_match_minute_by_minute(fields, zone_name, moment):
    """Walk all minutes of two days and compare with the dates computed."""
    cron, zone = parse_cron(" ".join(fields)), ZoneInfo(zone_name)
    start = moment.replace(second=0, microsecond=0)
    end = start + timedelta(days=2)
    due = []
    for minutes in range(1, 2 * 24 * 60 + 1):
        here = (start + timedelta(minutes=minutes)).astimezone(zone)
        if cron.on_day(here.date()) and here.hour in cron.hours and here.minute in cron.minutes:
            due.append((here.astimezone(UTC), here.fold))
    found = list(cron.between(start, end, zone))
    assert set(found) <= {when for when, _ in due}
    assert all(fold for when, fold in due if when not in found)
    assert found == sorted(found)
    for one in found:
        assert cron.before(one + timedelta(seconds=1), zone) == one
    for earlier, later in itertools.pairwise(found):
        assert cron.before(later, zone) == earlier
