"""Spans of time in which a Flow trigger has to see all the executions it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone, tzinfo

from kestra_dagster.flow.windows import FlowWindow, TimeWindow

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to before `end`; `closed` says that what happens now lies outside of it."""

    start: datetime
    end: datetime
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """How the windows of a trigger lie: all forms to write one, told apart by what is set.

    `sliding` reaches back from now. `first` and `last` are times of a day. Else windows of `size`
    follow one another from midnight on, shifted by `shift`.
    """

    sliding: timedelta | None = None
    first: time | None = None
    last: time | None = None
    size: timedelta = _DAY
    shift: timedelta = timedelta()

    def around(self, now: datetime, zone: tzinfo) -> Window:
        """Return the window that `now` is in; a daily one that is closed is that of the day."""
        if self.sliding is not None:
            return Window(now - self.sliding, now + timedelta(microseconds=1))
        here = now.astimezone(zone)
        if self.last is not None:
            start = _at(here, self.first or time(), zone)
            end = _at(here, self.last, zone)
            if end <= start:  # over midnight
                start, end = (start, end + _DAY) if now >= start else (start - _DAY, end)
            return Window(start, end, closed=not start <= now < end)
        midnight = _at(here, time(), zone)
        if self.size >= _DAY and not self.shift:
            end = (here + self.size).replace(hour=0, minute=0, second=0, microsecond=0)
            return Window(midnight, end.astimezone(timezone.utc))
        # Windows are counted from the midnight before the shift, so that they meet at midnight.
        since = now - midnight - self.shift
        count = since // self.size
        start = midnight + self.shift + count * self.size
        return Window(start, start + self.size)


def _at(here: datetime, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(here.date(), clock.replace(tzinfo=None), zone).astimezone(timezone.utc)


def span_of(
    window: TimeWindow | FlowWindow | None,
    size: timedelta | None = None,
    shift: timedelta | None = None,
) -> Span:
    """Return the span of a written window; `size` and `shift` are those of a MultipleCondition."""
    if window is None:
        return Span(size=size or _DAY, shift=shift or timedelta())
    if isinstance(window, FlowWindow):
        if window.lookback is not None:
            return Span(sliding=window.lookback)
        if window.deadline is not None or window.to is not None:
            return Span(first=window.from_, last=window.deadline or window.to)
        return Span(size=window.every or _DAY, shift=window.offset or timedelta())
    if window.type == "SLIDING_WINDOW":
        return Span(sliding=window.window)
    if window.type in ("DAILY_TIME_DEADLINE", "DAILY_TIME_WINDOW"):
        return Span(first=window.start_time, last=window.deadline or window.end_time)
    return Span(size=window.window or _DAY, shift=window.window_advance or timedelta())
