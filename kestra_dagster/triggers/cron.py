"""When a cron expression is due, as Kestra's scheduler reckons it.

Dates are wall-clock times of a zone. A time that the clocks skip in spring does not come on that
day. A time they show twice in autumn comes once, except where the expression is due again within
less than two hours: what runs hourly runs in both hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from kestra_dagster.flow.cron import DAYS, MONTHS, cron_problem

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_YEARS = 100
"""How far a date is looked for; what is not due by then never is (30 February)."""
_RARE = timedelta(hours=2)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression: the values of each field, Sunday is 0; `text` has five or six fields."""

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def on_day(self, day: date) -> bool:
        """Say whether it is due on a day; where both kinds of day are set, either will do."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """Return the first date after a moment, in the zone's offset of then; None for never."""
        at = self._next(moment.astimezone(timezone.utc), zone)
        while at is not None and self._repeats(at, zone):
            at = self._next(at, zone)
        return None if at is None else in_zone(at, zone)

    def before(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """Return the last date before a moment, in the zone's offset of then; None for never."""
        at = self._last(moment.astimezone(timezone.utc), zone)
        while at is not None and self._repeats(at, zone):
            at = self._last(at, zone)
        return None if at is None else in_zone(at, zone)

    def between(self, after: datetime, until: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Yield the dates after a moment up to another, which is one of them if it is due."""
        end = until.astimezone(timezone.utc)
        found = self.after(after, zone)
        while found is not None and found <= end:
            yield found
            found = self.after(found, zone)

    def _repeats(self, at: datetime, zone: tzinfo) -> bool:
        """Say whether a date is the second one that day with the same time on the clock."""
        here = at.astimezone(zone)
        if not here.fold or here.replace(fold=0).utcoffset() == here.utcoffset():
            return False
        later = self._next(at, zone)
        return later is None or later - at >= _RARE

    def _next(self, moment: datetime, zone: tzinfo) -> datetime | None:
        at = moment.replace(microsecond=0) + _SECOND
        last_year = moment.year + _YEARS
        while at.year <= last_year:
            here = at.astimezone(zone)
            if here.month not in self.months:
                year, month = (here.year + here.month // 12, here.month % 12 + 1)
                at = _midnight(date(year, month, 1), zone)
            elif not self.on_day(here.date()):
                at = _midnight(here.date() + timedelta(days=1), zone)
            elif here.hour not in self.hours:
                at += timedelta(hours=1) - timedelta(minutes=here.minute, seconds=here.second)
            elif here.minute not in self.minutes:
                at += timedelta(minutes=1) - timedelta(seconds=here.second)
            elif here.second not in self.seconds:
                at += _SECOND
            else:
                return at
        return None

    def _last(self, moment: datetime, zone: tzinfo) -> datetime | None:
        at = moment.replace(microsecond=0) if moment.microsecond else moment - _SECOND
        first_year = moment.year - _YEARS
        while at.year >= first_year:
            here = at.astimezone(zone)
            if here.month not in self.months:
                at = _midnight(here.date().replace(day=1), zone) - _SECOND
            elif not self.on_day(here.date()):
                at = _midnight(here.date(), zone) - _SECOND
            elif here.hour not in self.hours:
                at -= timedelta(minutes=here.minute, seconds=here.second + 1)
            elif here.minute not in self.minutes:
                at -= timedelta(seconds=here.second + 1)
            elif here.second not in self.seconds:
                at -= _SECOND
            else:
                return at
        return None


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment with the offset that a zone has then.

    Python compares two times of one zone by their clocks, wrongly around a change; offsets do not.
    """
    here = moment.astimezone(zone)
    return here.replace(tzinfo=timezone(here.utcoffset() or timedelta()), fold=0)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """Return the moment a day begins; where the clocks skip midnight, when they do."""
    return datetime.combine(day, time(), zone).astimezone(timezone.utc)


def parse_cron(expression: str, with_seconds: bool = False) -> Cron:
    """Return what an expression means; raise ValueError where it is none."""
    reason = cron_problem(expression, with_seconds)
    if reason:
        raise ValueError(f"`{expression}`: {reason}")
    text = _NICKNAMES.get(expression.strip().lower())
    if text is None:
        text = " ".join(expression.split())
    elif with_seconds:
        text = f"0 {text}"
    fields = text.split()
    seconds, minute, hour, day, month, weekday = fields if with_seconds else ("0", *fields)
    return Cron(
        text,
        _values(seconds, 0, 59),
        _values(minute, 0, 59),
        _values(hour, 0, 23),
        _values(day, 1, 31),
        _values(month, 1, 12, MONTHS),
        frozenset(number % 7 for number in _values(weekday, 0, 7, DAYS)),
        any_day=day == "*",
        any_weekday=weekday == "*",
    )


def _values(field: str, low: int, high: int, words: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            # Sunday is both 0 and 7: steps count from 0 and end before it comes again.
            start, end = low, min(high, 6) if words is DAYS else high
        else:
            start = _number(first, words)
            end = _number(last, words) if last else high if step else start
            if words is DAYS and last and end == 0:
                end = 7
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(word: str, words: dict[str, int] | None) -> int:
    return int(word) if re.fullmatch(r"\d+", word) else (words or {})[word.upper()]
