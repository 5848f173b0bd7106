"""Filters on dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date as Date
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.date_math import UNITS, on_clock, plus
from kestra_dagster.expressions.date_names import names_of, style_pattern
from kestra_dagster.expressions.date_parse import parse_by_pattern
from kestra_dagster.expressions.date_patterns import format_moment, parse_pattern
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.java_time import (
    Moment,
    as_moment,
    fraction,
    offset_text,
    parse_iso,
    zone_id,
    zone_of,
)
from kestra_dagster.expressions.values import Long, rank, type_word, whole_number

_PATTERNS = {
    "iso": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "iso_sec": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "sql": "yyyy-MM-dd HH:mm:ss.SSSSSS",
    "sql_seq": "yyyy-MM-dd HH:mm:ss",
    "rfc_1123_date_time": "EEE, d MMM yyyy HH:mm:ss 'GMT'",
}
_STYLES = ("full", "long", "medium", "short")
_RFC_1123 = "EEE, d MMM yyyy HH:mm:ss "


def _day(moment: Moment) -> str:
    return moment.when.date().isoformat()


def _clock(moment: Moment) -> str:
    return f"{moment.when:%H:%M:%S}{fraction(moment.nano)}"


def _region(moment: Moment) -> str:
    name = zone_id(moment.when.tzinfo, moment.when)
    offset = offset_text(moment.when)
    return f"{offset}[{name}]" if name != offset else offset


def _week_date(moment: Moment) -> str:
    year, week, day = moment.when.isocalendar()
    return f"{year:04d}-W{week:02d}-{day}{offset_text(moment.when)}"


def _instant(moment: Moment) -> str:
    utc = moment.when.astimezone(timezone.utc)
    return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%S}{fraction(moment.nano, True)}Z"


def _rfc_1123(moment: Moment) -> str:
    text = format_moment(moment, parse_pattern(_RFC_1123), names_of("en"))
    return text + (offset_text(moment.when, "GMT", ""))


_NAMED: dict[str, Callable[[Moment], str]] = {
    "iso_date_time": lambda moment: f"{_day(moment)}T{_clock(moment)}{_region(moment)}",
    "iso_zoned_date_time": lambda moment: f"{_day(moment)}T{_clock(moment)}{_region(moment)}",
    "iso_date": lambda moment: _day(moment) + offset_text(moment.when),
    "iso_time": lambda moment: _clock(moment) + offset_text(moment.when),
    "iso_offset_time": lambda moment: _clock(moment) + offset_text(moment.when),
    "iso_local_date": _day,
    "iso_local_time": _clock,
    "iso_local_date_time": lambda moment: f"{_day(moment)}T{_clock(moment)}",
    "iso_instant": _instant,
    "iso_ordinal_date": lambda moment: f"{moment.when:%Y-%j}{offset_text(moment.when)}",
    "iso_week_date": _week_date,
    "rfc_1123_date_time": _rfc_1123,
}


def default_zone(context: Context) -> tzinfo:
    """Return the zone of dates without one: the host's, else UTC."""
    return context.host.time_zone if context.host is not None else timezone_utc()


def timezone_utc() -> tzinfo:
    """Return UTC as a region, which Java prints as `Z[UTC]`."""
    return zone_of("UTC")


def _text_argument(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ExpressionError(f"`{name}` is a string, not {type_word(value)}")


def to_moment(value: Any, zone: tzinfo, existing_format: str | None, locale: str = "") -> Moment:
    """Turn a date, epoch seconds or text into a zoned moment.

    A plain date is noon, a date in text is midnight (as in Kestra).
    """
    moment = as_moment(value)
    if moment is None and isinstance(value, Date):
        return Moment(datetime(value.year, value.month, value.day, 12, tzinfo=zone))
    if moment is None and rank(value):
        return _epoch(value, zone)
    if moment is None:
        if not isinstance(value, str):
            raise ExpressionError(f"{type_word(value)} is not a date")
        parsed = _parse(value, existing_format, locale)
        if not isinstance(parsed, Moment):
            midnight = datetime(parsed.year, parsed.month, parsed.day, tzinfo=zone)
            return Moment(on_clock(midnight))
        moment = parsed
    if moment.kind == "local":
        return Moment(on_clock(moment.when.replace(tzinfo=zone)), moment.rest)
    return moment


def _epoch(value: Any, zone: tzinfo) -> Moment:
    seconds = None if isinstance(value, float) else whole_number(value)
    if seconds is None:
        raise ExpressionError("a date in numbers is whole seconds since 1970")
    try:
        start = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return Moment((start + timedelta(seconds=seconds)).astimezone(zone))
    except OverflowError:
        raise ExpressionError(
            f"{seconds} seconds since 1970 is no date", hint="milliseconds? divide by 1000"
        ) from None


def _parse(text: str, existing_format: str | None, locale: str) -> Moment | Date:
    """Read text; names of months are English, as on Kestra's server, or of the given locale."""
    try:
        return _parse_in(text, existing_format, "")
    except ExpressionError:
        if not locale:
            raise
        return _parse_in(text, existing_format, locale)


_DATE_ONLY: dict[str, Callable[[str], Date]] = {
    "iso_date": lambda text: Date.fromisoformat(text[:10]),
    "iso_ordinal_date": lambda text: datetime.strptime(text[:8], "%Y-%j").date(),
    "iso_week_date": lambda text: datetime.strptime(text[:10], "%G-W%V-%u").date(),
}


def _parse_in(text: str, existing_format: str | None, locale: str) -> Moment | Date:
    shown = text if len(text) <= 60 else text[:60] + "…"
    if existing_format is None or (existing_format in _NAMED and existing_format[:4] == "iso_"):
        parsed = parse_iso(text)
        if parsed is None and existing_format in _DATE_ONLY:
            try:
                return _DATE_ONLY[existing_format](text)
            except ValueError:
                pass
        if parsed is None:
            raise ExpressionError(
                f"`{shown}` is not an ISO date",
                hint="say how it is written: date(existingFormat='dd/MM/yyyy')",
            )
        return parsed
    if existing_format == "rfc_1123_date_time":
        pattern = "EEE, d MMM yyyy HH:mm:ss" + (" Z" if not text.endswith("GMT") else " 'GMT'")
        parsed = parse_by_pattern(text, parse_pattern(pattern), names_of("en"))
        if isinstance(parsed, Moment) and parsed.kind == "local":
            return Moment(parsed.when.replace(tzinfo=timezone.utc))
        return parsed
    if existing_format in _STYLES:
        pattern = style_pattern(existing_format, locale)
    else:
        pattern = _PATTERNS.get(existing_format, existing_format)
    return parse_by_pattern(text, parse_pattern(pattern), names_of(locale))


def format_date(moment: Moment, format: str, locale: str) -> str:
    """Write a date by the name of a format, a style, or a Java pattern."""
    if named := _NAMED.get(format):
        return named(moment)
    names = names_of(locale)
    pattern = style_pattern(format, locale) if format in _STYLES else _PATTERNS.get(format, format)
    return format_moment(moment, parse_pattern(pattern), names)


def date(
    context: Context,
    value: Any,
    format: Any = None,
    timeZone: Any = None,
    existingFormat: Any = None,
    locale: Any = None,
) -> Any:
    """Write a date; the default format is `iso` with microseconds."""
    if value is None:
        return None
    zone, existing, language = _arguments(context, timeZone, existingFormat, locale)
    moment = to_moment(value, zone, existing, language)
    return _written(moment, zone, format, language)


def _written(moment: Moment, zone: tzinfo, format: Any, locale: str) -> str:
    try:
        name = _text_argument(format, "format")
        return format_date(moment.in_zone(zone), "iso" if name is None else name, locale)
    except OverflowError:
        raise ExpressionError("the date is out of range") from None


def _arguments(
    context: Context, time_zone: Any, existing_format: Any, locale: Any = None
) -> tuple[tzinfo, str | None, str]:
    name = _text_argument(time_zone, "timeZone")
    zone = zone_of(name) if name is not None else default_zone(context)
    existing = _text_argument(existing_format, "existingFormat")
    return zone, existing, _text_argument(locale, "locale") or ""


def date_add(
    context: Context,
    value: Any,
    amount: Any = None,
    unit: Any = None,
    format: Any = None,
    timeZone: Any = None,
    existingFormat: Any = None,
    locale: Any = None,
) -> Any:
    """Add an amount of a unit to a date and write it."""
    if value is None:
        return None
    count = None if isinstance(amount, float) else whole_number(amount)
    if count is None:
        raise ExpressionError(f"`dateAdd` needs a whole number, not {type_word(amount)}")
    if unit not in UNITS:
        raise ExpressionError(
            f"`{unit}` is not a unit of time", hint=f"units are {', '.join(UNITS)}"
        )
    zone, existing, language = _arguments(context, timeZone, existingFormat, locale)
    moment = to_moment(value, zone, existing, language)
    return _written(plus(moment, count, unit), zone, format, language)


def _moment(context: Context, value: Any, time_zone: Any, existing_format: Any) -> Moment:
    zone, existing, _ = _arguments(context, time_zone, existing_format)
    return to_moment(value, zone, existing)


def timestamp(
    context: Context, value: Any, timeZone: Any = None, existingFormat: Any = None
) -> Any:
    """Return seconds since 1970."""
    if value is None:
        return None
    return Long(_moment(context, value, timeZone, existingFormat).epoch_second())


def timestamp_milli(
    context: Context, value: Any, timeZone: Any = None, existingFormat: Any = None
) -> Any:
    """Return milliseconds since 1970."""
    if value is None:
        return None
    moment = _moment(context, value, timeZone, existingFormat)
    return Long(moment.epoch_second() * 1000 + moment.nano // 1_000_000)


def timestamp_micro(
    context: Context, value: Any, timeZone: Any = None, existingFormat: Any = None
) -> Any:
    """Return Kestra's odd sum as text: the seconds in nanoseconds plus the microseconds."""
    if value is None:
        return None
    moment = _moment(context, value, timeZone, existingFormat)
    return str(moment.epoch_second() * 1_000_000_000 + moment.nano // 1000)


def timestamp_nano(
    context: Context, value: Any, timeZone: Any = None, existingFormat: Any = None
) -> Any:
    """Return nanoseconds since 1970 as text."""
    if value is None:
        return None
    moment = _moment(context, value, timeZone, existingFormat)
    return str(moment.epoch_second() * 1_000_000_000 + moment.nano)
