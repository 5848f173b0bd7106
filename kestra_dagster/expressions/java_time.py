"""Dates and times as `java.time` has them: nanoseconds, zones with their names, ISO text.

Python's own values stand for Java's: an aware `datetime` is a ZonedDateTime, a naive one a
LocalDateTime, `date`, `time` and `timedelta` are LocalDate, LocalTime and Duration. `Moment` adds
the nanoseconds that a `datetime` cannot hold, and tells Instant and `java.util.Date` apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Literal

from kestra_dagster.expressions.errors import ExpressionError

Kind = Literal["zoned", "instant", "local", "date"]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CLASSES = {
    "zoned": "java.time.ZonedDateTime",
    "instant": "java.time.Instant",
    "local": "java.time.LocalDateTime",
    "date": "java.util.Date",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time to the nanosecond: `when` to the microsecond and `rest` (0 to 999)."""

    when: datetime
    rest: int = 0
    kind: Kind = "zoned"

    @property
    def nano(self) -> int:
        """Nanoseconds of the second."""
        return self.when.microsecond * 1000 + self.rest

    def in_zone(self, zone: tzinfo) -> Moment:
        """Return the same instant on the clock of another zone."""
        return Moment(self.when.astimezone(zone), self.rest)

    def epoch_second(self) -> int:
        """Return whole seconds since 1970."""
        return (self.when - _EPOCH) // timedelta(seconds=1)

    def to_python(self) -> datetime:
        """Return the value as a `datetime`, to the microsecond."""
        return self.when

    def order(self) -> tuple[datetime, int]:
        """Return a key that sorts moments of one kind."""
        return self.when, self.rest


def as_moment(value: Any) -> Moment | None:
    """Return a `datetime` or Moment as a Moment, None for anything else."""
    if isinstance(value, Moment):
        return value
    if isinstance(value, datetime):
        return Moment(value, 0, "zoned" if value.tzinfo else "local")
    return None


def zone_of(name: str) -> tzinfo:
    """Return the zone of a Java zone id: a region, `Z`, `+02:00`, `UTC+1`; unknown ones raise."""
    if name in ("Z", "z"):
        return timezone.utc
    if found := re.fullmatch(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?", name):
        sign, hours, minutes, seconds = found.groups(default="0")
        offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds))
        if offset <= timedelta(hours=18):
            return timezone(-offset if sign == "-" else offset)
    elif re.fullmatch(r"[A-Za-z][A-Za-z0-9~/._+-]{1,60}", name) and ".." not in name:
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo("UTC" if name in ("GMT0", "UT") else name)
        except (ValueError, OSError, LookupError):
            pass
    raise ExpressionError(
        f"`{name[:60]}` is not a time zone",
        hint="write for example 'Europe/Paris', 'UTC', '+02:00'",
    )


def zone_id(zone: tzinfo | None, when: datetime) -> str:
    """Return the Java id of a zone."""
    key = getattr(zone, "key", None)
    return key or offset_text(when)


def offset_seconds(when: datetime) -> int:
    """Return the offset from UTC in seconds."""
    offset = when.utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def offset_text(when: datetime, zero: str = "Z", colon: str = ":") -> str:
    """Return `+01:00` (with seconds where there are some), `zero` for UTC."""
    total = offset_seconds(when)
    if not total:
        return zero
    sign, total = ("-", -total) if total < 0 else ("+", total)
    hours, minutes, seconds = total // 3600, total // 60 % 60, total % 60
    text = f"{sign}{hours:02d}{colon}{minutes:02d}"
    return f"{text}{colon}{seconds:02d}" if seconds else text


def fraction(nano: int, groups: bool = False) -> str:
    """Return `.123` for a part of a second: the digits it needs, or 3, 6 or 9 in `groups`."""
    if not nano:
        return ""
    digits = f"{nano:09d}"
    if not groups:
        return "." + digits.rstrip("0")
    size = 3 if nano % 1_000_000 == 0 else 6 if nano % 1000 == 0 else 9
    return "." + digits[:size]


def local_text(when: datetime, nano: int) -> str:
    """Return LocalDateTime.toString: no seconds when zero, fraction in groups of three."""
    text = f"{when.year:04d}-{when:%m-%dT%H:%M}"
    return text if not when.second and not nano else f"{text}:{when:%S}{fraction(nano, True)}"


def time_text(value: Any) -> str | None:
    """Return Java's toString of a date or time; None for another value."""
    if (moment := as_moment(value)) is not None:
        return _moment_text(moment)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        text = f"{value:%H:%M}"
        nano = value.microsecond * 1000
        return f"{text}:{value:%S}{fraction(nano, True)}" if value.second or nano else text
    return duration_text(value) if isinstance(value, timedelta) else None


def _moment_text(moment: Moment) -> str:
    when = moment.when
    if moment.kind == "local":
        return local_text(when, moment.nano)
    if moment.kind == "date":
        return f"{when:%a %b %d %H:%M:%S} {when.tzname()} {when.year}"
    if moment.kind == "instant":
        utc = when.astimezone(timezone.utc)
        return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%S}{fraction(moment.nano, True)}Z"
    text = local_text(when, moment.nano) + offset_text(when)
    key = getattr(when.tzinfo, "key", None)
    return f"{text}[{key}]" if key else text


def duration_text(value: timedelta) -> str:
    """Return Duration.toString: `PT26H3M0.5S`."""
    micros = value // timedelta(microseconds=1)
    if not micros:
        return "PT0S"
    sign = -1 if micros < 0 else 1
    seconds, rest = divmod(abs(micros), 1_000_000)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    text = "PT"
    if hours:
        text += f"{sign * hours}H"
    if minutes:
        text += f"{sign * minutes}M"
    if seconds or rest:
        text += f"{'-' if sign < 0 else ''}{seconds}{fraction(rest * 1000)}S"
    return text


def time_json(value: Any) -> str | None:
    """Return the JSON of a date or time as Kestra's mapper writes it; None for another value.

    Zoned values are written on the clock of UTC, durations as seconds.
    """
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        sign, micros = ("-", -micros) if micros < 0 else ("", micros)
        seconds, rest = divmod(micros, 1_000_000)
        return f"{sign}{seconds}.{rest * 1000:09d}" if micros else "0.0"
    if (moment := as_moment(value)) is not None:
        return f'"{_iso(moment)}"'
    if isinstance(value, date):
        return f'"{value.isoformat()}"'
    if isinstance(value, time):
        return f'"{value:%H:%M:%S}{fraction(value.microsecond * 1000)}"'
    return None


def _iso(moment: Moment) -> str:
    when = moment.when
    if moment.kind != "local":
        when = when.astimezone(timezone.utc)
    text = f"{when.year:04d}-{when:%m-%dT%H:%M:%S}"
    if moment.kind == "date":
        return f"{text}.{moment.nano // 1_000_000:03d}+00:00"
    text += fraction(moment.nano, moment.kind == "instant")
    return text if moment.kind == "local" else text + "Z"


def compare_times(left: Any, right: Any) -> int | None:
    """Compare two dates, or a date with its ISO text; None if they cannot be compared."""
    if isinstance(left, str) and as_moment(right) is not None:
        left = parse_iso(left)
    elif isinstance(right, str) and as_moment(left) is not None:
        right = parse_iso(right)
    first, second = as_moment(left), as_moment(right)
    if first is None or second is None:
        if type(left) is type(right) and isinstance(left, (date, time, timedelta)):
            return (left > right) - (left < right)  # type: ignore[operator]
        return None
    if (first.when.tzinfo is None) != (second.when.tzinfo is None):
        return None
    return (first.order() > second.order()) - (first.order() < second.order())


_ISO_DATE = r"(\d{4})-(\d{2})-(\d{2})"
_ISO = re.compile(
    _ISO_DATE + r"(?:[Tt](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"(?:([Zz]|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)(?:\[([^\]]+)\])?)?)?"
)


def parse_iso(text: str) -> Moment | date | None:
    """Read ISO text: a Moment with an offset or without one, or a plain date; None if it is not."""
    found = _ISO.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second, digits, offset, region = found.groups()
    try:
        if hour is None:
            return date(int(year), int(month), int(day))
        nano = int((digits or "").ljust(9, "0"))
        when = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), nano // 1000
        )
        if offset is None:
            return Moment(when, nano % 1000, "local")
        moment = Moment(when.replace(tzinfo=zone_of(offset.upper())), nano % 1000)
        return moment.in_zone(zone_of(region)) if region else moment
    except (ValueError, OverflowError):
        return None


def time_class_name(value: Any) -> str | None:
    """Return the Java class of a date or time; None for another value."""
    if (moment := as_moment(value)) is not None:
        return _CLASSES[moment.kind]
    if isinstance(value, date):
        return "java.time.LocalDate"
    if isinstance(value, time):
        return "java.time.LocalTime"
    return "java.time.Duration" if isinstance(value, timedelta) else None
