"""The methods of Java's dates, times and durations that a template may call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.date_math import DAY_NAMES, MONTH_NAMES, plus
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.java_time import (
    Moment,
    as_moment,
    compare_times,
    offset_text,
    zone_id,
)
from kestra_dagster.expressions.methods import Method, whole
from kestra_dagster.expressions.values import Long

_Table = Mapping[tuple[str, int], Method]
_UNITS = ("NANOS", "SECONDS", "MINUTES", "HOURS", "DAYS", "WEEKS", "MONTHS", "YEARS")
_MICRO = timedelta(microseconds=1)


def table_of(value: Any) -> _Table:
    """Return the methods of a date, a time, a duration, or none at all."""
    moment = as_moment(value)
    if moment is not None:
        return {"instant": _INSTANT, "date": _UTIL_DATE, "local": _LOCAL}.get(moment.kind, _ZONED)
    if isinstance(value, date):
        return _DATE
    if isinstance(value, timedelta):
        return _DURATION
    return _TIME if isinstance(value, time) else {}


def _moment(value: Any) -> Moment:
    moment = as_moment(value)
    if moment is not None:
        return moment
    return Moment(datetime(value.year, value.month, value.day), 0, "local")


def _read(read: Callable[[Moment], Any]) -> Method:
    return lambda context, value: read(_moment(value))


def _mover(unit: str, sign: int) -> Method:
    def move(context: Context, value: Any, amount: Any) -> Any:
        moved = plus(_moment(value), sign * whole(amount), unit)
        return moved if as_moment(value) is not None else moved.when.date()

    return move


def _comparer(wanted: int) -> Method:
    def check(context: Context, value: Any, other: Any) -> bool:
        order = compare_times(value, other)
        if order is None:
            raise ExpressionError("only dates of one kind can be compared")
        return order == wanted

    return check


def _utc(moment: Moment, kind: Any) -> Moment:
    return Moment(moment.when.astimezone(timezone.utc), moment.rest, kind)


_DAY_PARTS: dict[tuple[str, int], Method] = {
    ("getyear", 0): _read(lambda moment: moment.when.year),
    ("getmonth", 0): _read(lambda moment: MONTH_NAMES[moment.when.month - 1]),
    ("getmonthvalue", 0): _read(lambda moment: moment.when.month),
    ("getdayofmonth", 0): _read(lambda moment: moment.when.day),
    ("getdayofyear", 0): _read(lambda moment: moment.when.timetuple().tm_yday),
    ("getdayofweek", 0): _read(lambda moment: DAY_NAMES[moment.when.weekday()]),
}
_CLOCK_PARTS: dict[tuple[str, int], Method] = {
    ("gethour", 0): _read(lambda moment: moment.when.hour),
    ("getminute", 0): _read(lambda moment: moment.when.minute),
    ("getsecond", 0): _read(lambda moment: moment.when.second),
    ("getnano", 0): _read(lambda moment: moment.nano),
}
_ORDER: dict[tuple[str, int], Method] = {
    ("isbefore", 1): _comparer(-1),
    ("isafter", 1): _comparer(1),
    ("isequal", 1): _comparer(0),
}


def _movers(units: tuple[str, ...]) -> dict[tuple[str, int], Method]:
    return {
        (name + unit.lower(), 1): _mover(unit, sign)
        for unit in units
        for name, sign in (("plus", 1), ("minus", -1))
    }


_TO_DATE: dict[tuple[str, int], Method] = {
    ("tolocaldate", 0): _read(lambda moment: moment.when.date()),
    ("tolocaltime", 0): _read(lambda moment: moment.when.time()),
}
_LOCAL: _Table = {**_DAY_PARTS, **_CLOCK_PARTS, **_ORDER, **_TO_DATE, **_movers(_UNITS)}
_ZONED: _Table = {
    **_LOCAL,
    ("tolocaldatetime", 0): _read(
        lambda moment: Moment(moment.when.replace(tzinfo=None), moment.rest, "local")
    ),
    ("toinstant", 0): _read(lambda moment: _utc(moment, "instant")),
    ("toepochsecond", 0): _read(lambda moment: Long(moment.epoch_second())),
    ("getzone", 0): _read(lambda moment: zone_id(moment.when.tzinfo, moment.when)),
    ("getoffset", 0): _read(lambda moment: offset_text(moment.when)),
}
_EPOCH_MILLI = _read(lambda moment: Long(moment.epoch_second() * 1000 + moment.nano // 1_000_000))
_INSTANT: _Table = {
    **_ORDER,
    **_movers(("NANOS", "SECONDS")),
    ("plusmillis", 1): _mover("MILLIS", 1),
    ("minusmillis", 1): _mover("MILLIS", -1),
    ("getepochsecond", 0): _read(lambda moment: Long(moment.epoch_second())),
    ("getnano", 0): _CLOCK_PARTS["getnano", 0],
    ("toepochmilli", 0): _EPOCH_MILLI,
}
_UTIL_DATE: _Table = {
    ("gettime", 0): _EPOCH_MILLI,
    ("toinstant", 0): _ZONED["toinstant", 0],
}
_DATE: _Table = {**_DAY_PARTS, **_ORDER, **_movers(("DAYS", "WEEKS", "MONTHS", "YEARS"))}
_TIME: _Table = {
    ("gethour", 0): lambda context, clock: clock.hour,
    ("getminute", 0): lambda context, clock: clock.minute,
    ("getsecond", 0): lambda context, clock: clock.second,
    ("getnano", 0): lambda context, clock: clock.microsecond * 1000,
}


def _count(unit: timedelta) -> Method:
    return lambda context, duration: Long(duration // unit)


_DURATION: _Table = {
    ("tomillis", 0): _count(timedelta(milliseconds=1)),
    ("toseconds", 0): _count(timedelta(seconds=1)),
    ("getseconds", 0): _count(timedelta(seconds=1)),
    ("tominutes", 0): _count(timedelta(minutes=1)),
    ("tohours", 0): _count(timedelta(hours=1)),
    ("todays", 0): _count(timedelta(days=1)),
    ("tonanos", 0): lambda context, duration: Long(duration // _MICRO * 1000),
    ("iszero", 0): lambda context, duration: not duration,
    ("isnegative", 0): lambda context, duration: duration < timedelta(0),
}
