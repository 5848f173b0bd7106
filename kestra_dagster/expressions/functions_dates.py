"""Functions on dates: the current time, and the questions that a trigger's `when` asks."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, datetime, timezone
from typing import Any

from kestra_dagster.expressions import filters_dates
from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.date_math import DAY_NAMES
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.functions_core import OMITTED, text_argument
from kestra_dagster.expressions.java_time import Moment, as_moment, parse_iso
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import is_list

_POSITIONS = {"FIRST": 1, "SECOND": 2, "THIRD": 3, "FOURTH": 4}


def now(
    context: Context,
    format: Any = None,
    timeZone: Any = None,
    existingFormat: Any = None,
    locale: Any = None,
) -> Any:
    """Return the current time as text, by default `iso` with microseconds."""
    host = context.host
    moment = host.now() if host is not None else datetime.now(timezone.utc)
    return filters_dates.date(context, moment, format, timeZone, None, locale)


def _parsed(value: Any, function: str, argument: str) -> Moment | date:
    if value is OMITTED or value is None:
        raise ExpressionError(f"`{function}()` needs the argument `{argument}`")
    moment = as_moment(value)
    if moment is not None:
        return moment
    if isinstance(value, date):
        return value
    parsed = parse_iso(value) if isinstance(value, str) else None
    if parsed is None:
        raise ExpressionError(
            f"`{function}()` needs an ISO date as `{argument}`, not `{java_text(value)[:60]}`",
            hint="write it as '2025-01-31' or '2025-01-31T09:00:00Z'",
        )
    return parsed


def _day(value: Any, function: str) -> date:
    """Return the day as it is written, without a change of zone."""
    parsed = _parsed(value, function, "date")
    return parsed.when.date() if isinstance(parsed, Moment) else parsed


def _instant(value: Any, function: str, argument: str) -> tuple[datetime, int]:
    """Return what sorts by time; what has no zone is taken as UTC."""
    parsed = _parsed(value, function, argument)
    if not isinstance(parsed, Moment):
        return datetime(parsed.year, parsed.month, parsed.day, tzinfo=timezone.utc), 0
    when = parsed.when if parsed.when.tzinfo else parsed.when.replace(tzinfo=timezone.utc)
    return when.astimezone(timezone.utc), parsed.rest


def day_of_week(context: Context, date: Any = OMITTED) -> str:
    """Return the name of the day: MONDAY ... SUNDAY."""
    return DAY_NAMES[_day(date, "dayOfWeek").weekday()]


def day_of_month(context: Context, date: Any = OMITTED) -> int:
    """Return the day of the month."""
    return _day(date, "dayOfMonth").day


def month_of_year(context: Context, date: Any = OMITTED) -> int:
    """Return the month, 1 to 12."""
    return _day(date, "monthOfYear").month


def hour_of_day(context: Context, date: Any = OMITTED) -> int:
    """Return the hour as it is written, 0 to 23."""
    parsed = _parsed(date, "hourOfDay", "date")
    if isinstance(parsed, Moment):
        return parsed.when.hour
    raise ExpressionError("`hourOfDay()` needs a date with a time")


def is_weekend(context: Context, date: Any = OMITTED) -> bool:
    """Say whether a day is a Saturday or a Sunday."""
    return _day(date, "isWeekend").weekday() >= 5


def is_date_after(context: Context, date: Any = OMITTED, reference: Any = OMITTED) -> bool:
    """Say whether a date is after another."""
    name = "isDateAfter"
    return _instant(date, name, "date") > _instant(reference, name, "reference")


def is_date_before(context: Context, date: Any = OMITTED, reference: Any = OMITTED) -> bool:
    """Say whether a date is before another."""
    name = "isDateBefore"
    return _instant(date, name, "date") < _instant(reference, name, "reference")


def is_date_between(
    context: Context, date: Any = OMITTED, after: Any = OMITTED, before: Any = OMITTED
) -> bool:
    """Say whether a date is after one date and before another."""
    name = "isDateBetween"
    low, high = _instant(after, name, "after"), _instant(before, name, "before")
    return low < _instant(date, name, "date") < high


def _weekday(value: Any, function: str, argument: str) -> int:
    name = text_argument(value, function, argument).strip().upper()
    if name not in DAY_NAMES:
        raise ExpressionError(
            f"`{name[:40]}` is not a day of the week", hint=f"write one of {', '.join(DAY_NAMES)}"
        )
    return DAY_NAMES.index(name)


def is_day_week_in_month(
    context: Context, date: Any = OMITTED, dayOfWeek: Any = OMITTED, position: Any = OMITTED
) -> bool:
    """Say whether a day is, for example, the second Tuesday or the last Friday of its month."""
    name = "isDayWeekInMonth"
    day = _day(date, name)
    weekday = _weekday(dayOfWeek, name, "dayOfWeek")
    place = text_argument(position, name, "position").upper()
    return is_place_in_month(day, weekday, place)


def is_place_in_month(day: date, weekday: int, place: str) -> bool:
    """Say whether a day is the FIRST, ... FOURTH or LAST such weekday of its month; Monday is 0."""
    if place != "LAST" and place not in _POSITIONS:
        raise ExpressionError(
            f"`{place[:40]}` is not a position", hint=f"write {', '.join(_POSITIONS)} or LAST"
        )
    if day.weekday() != weekday:
        return False
    if place == "LAST":
        return day.day + 7 > monthrange(day.year, day.month)[1]
    return (day.day - 1) // 7 + 1 == _POSITIONS[place]


def is_last_working_day(context: Context, date: Any = OMITTED, workingDays: Any = None) -> bool:
    """Say whether a day is the last of its month on which one works (Monday to Friday)."""
    name = "isLastWorkingDay"
    day = _day(date, name)
    words = workingDays if is_list(workingDays) else re.split(r"[,\s]+", _words(workingDays))
    working = {_weekday(word, name, "workingDays") for word in words if word != ""}
    if not working:
        working = {0, 1, 2, 3, 4}
    last = monthrange(day.year, day.month)[1]
    later = range(day.day + 1, last + 1)
    return day.weekday() in working and not any(
        day.replace(day=number).weekday() in working for number in later
    )


def _words(value: Any) -> str:
    return "" if value is None else text_argument(value, "isLastWorkingDay", "workingDays")


def is_public_holiday(
    context: Context, date: Any = OMITTED, countryCode: Any = OMITTED, subDivision: Any = None
) -> bool:
    """Say whether a day is a public holiday of a country, or of one of its parts."""
    name = "isPublicHoliday"
    day = _day(date, name)
    country = text_argument(countryCode, name, "countryCode")
    return is_holiday(
        day, country, "" if subDivision is None else text_argument(subDivision, name, "subDivision")
    )


def is_holiday(day: date, country: str, part: str = "") -> bool:
    """Say whether a day is a holiday in a country (ISO 3166-1), or in a part of it (ISO 3166-2)."""
    import holidays

    country = country.upper()
    try:
        return day in holidays.country_holidays(country, subdiv=part.upper() or None)
    except (NotImplementedError, KeyError):
        known = holidays.list_supported_countries()
        if country not in known:
            raise ExpressionError(
                f"the holidays of `{country[:40]}` are not known", hint="write a code such as 'FR'"
            ) from None
        raise ExpressionError(
            f"`{part[:40]}` is not a part of `{country}`",
            hint=f"parts are {', '.join(known[country])}" if known[country] else None,
        ) from None
