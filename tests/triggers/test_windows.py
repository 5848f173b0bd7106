from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from kestra_dagster.flow.windows import FlowWindow, TimeWindow
from kestra_dagster.triggers.windows import span_of

UTC = timezone.utc
NIGHT = FlowWindow(**{"from": "22:00", "to": "02:00"})


def window(written, now: str, zone: str = "UTC", size=None, shift=None) -> tuple[str, str, bool]:
    found = span_of(written, size, shift).around(
        datetime.fromisoformat(now).replace(tzinfo=UTC), ZoneInfo(zone)
    )
    return f"{found.start:%d %H:%M}", f"{found.end:%d %H:%M}", found.closed


@pytest.mark.parametrize(
    ("written", "now", "expected"),
    [
        (TimeWindow(), "2024-05-15T10:20", ("15 00:00", "16 00:00", False)),
        (TimeWindow(window="PT6H"), "2024-05-15T10:20", ("15 06:00", "15 12:00", False)),
        (
            TimeWindow(window="PT6H", windowAdvance="PT3H"),
            "2024-05-15T10:20",
            ("15 09:00", "15 15:00", False),
        ),
        (
            TimeWindow(window="P1D", windowAdvance="-PT4H"),
            "2024-05-15T21:00",
            ("15 20:00", "16 20:00", False),
        ),
        (TimeWindow(window="PT10M"), "2024-05-15T10:29:59", ("15 10:20", "15 10:30", False)),
        (
            TimeWindow(type="DAILY_TIME_DEADLINE", deadline="09:00:00"),
            "2024-05-15T08:59",
            ("15 00:00", "15 09:00", False),
        ),
        (
            TimeWindow(type="DAILY_TIME_DEADLINE", deadline="09:00:00"),
            "2024-05-15T09:00",
            ("15 00:00", "15 09:00", True),
        ),
        (
            TimeWindow(type="DAILY_TIME_WINDOW", startTime="06:00:00", endTime="09:00:00"),
            "2024-05-15T05:00",
            ("15 06:00", "15 09:00", True),
        ),
        (NIGHT, "2024-05-15T01:00", ("14 22:00", "15 02:00", False)),
        (NIGHT, "2024-05-15T23:00", ("15 22:00", "16 02:00", False)),
        (FlowWindow(deadline="09:00"), "2024-05-15T08:00", ("15 00:00", "15 09:00", False)),
        (
            FlowWindow(every="PT1H", offset="PT15M"),
            "2024-05-15T10:10",
            ("15 09:15", "15 10:15", False),
        ),
        (None, "2024-05-15T10:20", ("15 00:00", "16 00:00", False)),
    ],
)
def test_where_a_window_lies(written, now, expected):
    assert window(written, now) == expected


def test_midnight_is_that_of_the_zone_also_when_the_clocks_change():
    assert window(None, "2024-05-15T23:00", "Europe/Paris")[:2] == ("15 22:00", "16 22:00")
    # 31 March 2024 has 23 hours in Paris.
    assert window(None, "2024-03-31T12:00", "Europe/Paris")[:2] == ("30 23:00", "31 22:00")


def test_a_sliding_window_reaches_back():
    found = window(FlowWindow(lookback="PT2H"), "2024-05-15T10:20")
    assert found == ("15 08:20", "15 10:20", False)


def test_a_multiple_condition_says_size_and_shift_itself():
    found = window(None, "2024-05-15T10:20", size=timedelta(hours=1), shift=-timedelta(minutes=10))
    assert found == ("15 09:50", "15 10:50", False)
