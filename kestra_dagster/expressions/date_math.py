"""Adding to dates by Java's ChronoUnit: exact time below a day, the calendar of the zone above."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.java_time import Moment

_MICROS = {
    "MICROS": 1,
    "MILLIS": 1000,
    "SECONDS": 1_000_000,
    "MINUTES": 60_000_000,
    "HOURS": 3_600_000_000,
    "HALF_DAYS": 43_200_000_000,
}
_DAYS = {"DAYS": 1, "WEEKS": 7}
_MONTHS = {"MONTHS": 1, "YEARS": 12, "DECADES": 120, "CENTURIES": 1200, "MILLENNIA": 12_000}
UNITS = ("NANOS", *_MICROS, *_DAYS, *_MONTHS)
"""ChronoUnit's names, without ERAS and FOREVER."""
DAY_NAMES = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MONTH_NAMES = (
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
)


def plus(moment: Moment, amount: int, unit: str) -> Moment:
    """Add `amount` of one of UNITS to a moment; its kind and zone stay."""
    try:
        when = moment.when
        if unit == "NANOS":
            micros, rest = divmod(moment.rest + amount, 1000)
            return replace(moment, when=_exact(when, micros), rest=rest)
        if unit in _MICROS:
            return replace(moment, when=_exact(when, amount * _MICROS[unit]))
        if unit in _DAYS:
            moved = when + timedelta(days=amount * _DAYS[unit])
        else:
            year, month = divmod(when.year * 12 + when.month - 1 + amount * _MONTHS[unit], 12)
            day = min(when.day, monthrange(year, month + 1)[1])
            moved = when.replace(year=year, month=month + 1, day=day)
        return replace(moment, when=on_clock(moved, when))
    except (OverflowError, ValueError):
        raise ExpressionError("the date is out of range") from None


def _exact(when: datetime, micros: int) -> datetime:
    if when.tzinfo is None:
        return when + timedelta(microseconds=micros)
    moved = when.astimezone(timezone.utc) + timedelta(microseconds=micros)
    return moved.astimezone(when.tzinfo)


def on_clock(when: datetime, before: datetime | None = None) -> datetime:
    """Settle a wall-clock time as Java does where the clocks change.

    A time that is skipped moves on by the gap; one that happens twice keeps the offset it had
    `before`, or is the earlier one.
    """
    if when.tzinfo is None:
        return when
    if before is not None:
        for fold in (0, 1):
            candidate = when.replace(fold=fold)
            if candidate.utcoffset() == before.utcoffset():
                when = candidate
                break
        else:
            when = when.replace(fold=0)
    return when.astimezone(timezone.utc).astimezone(when.tzinfo)
