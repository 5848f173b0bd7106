"""Schedules: the dates at which they start their flow, and what `trigger` holds then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.expressions import ExpressionError, Host
from kestra_dagster.expressions.java_time import zone_of
from kestra_dagster.flow import conditions as written
from kestra_dagster.flow.input_values import InputRejected, parse_instant
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import has_template
from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates, Trigger
from kestra_dagster.triggers.conditions import ConditionContext, all_hold, when_holds
from kestra_dagster.triggers.cron import Cron, in_zone, parse_cron
from kestra_dagster.triggers.starts import (
    Start,
    about_trigger,
    iso_date,
    rendered_inputs,
    rendered_labels,
    trigger_key,
)

MOST_TRIES = 5_000
"""How many dates are asked for one that the conditions let pass; Kestra asks for ten years."""
ON_TIME = timedelta(minutes=2)
"""How late a date may be noticed before it counts as missed."""
_YEARS = timedelta(days=3653)
_MOMENT = timedelta(microseconds=1)
_BY_DAY = (
    written.DayWeek,
    written.DayWeekInMonth,
    written.Weekend,
    written.PublicHoliday,
)


@dataclass(frozen=True, slots=True)
class Dates:
    """A date of a schedule and its neighbours."""

    date: datetime
    next: datetime | None
    previous: datetime | None

    def variables(self) -> dict[str, str]:
        """Return what `trigger` holds: no `next` or `previous` where there is none."""
        found = {"date": self.date, "next": self.next, "previous": self.previous}
        return {name: iso_date(moment) for name, moment in found.items() if moment is not None}


@dataclass(frozen=True, slots=True)
class Timetable:
    """The dates of one Schedule or ScheduleOnDates trigger, conditions aside."""

    after: Callable[[datetime], datetime | None]
    before: Callable[[datetime], datetime | None]

    def at(self, moment: datetime) -> Dates | None:
        """Return the date at a moment, else the next one; None for never."""
        when = self.after(moment - timedelta(seconds=1))
        return None if when is None else Dates(when, self.after(when), self.before(when))

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the dates after a moment up to another, which is one of them if it is due."""
        found = self.after(since)
        while found is not None and found <= until:
            yield found
            found = self.after(found)


def timetable(trigger: Trigger, host: Host, variables: Mapping[str, Any]) -> Timetable:
    """Return the dates of a Schedule or ScheduleOnDates; raise ExpressionError."""
    spec = trigger.spec
    if isinstance(spec, Schedule):
        cron, zone = _cron(spec.cron, spec.with_seconds), _zone(spec.timezone, host)
        return Timetable(
            lambda moment: cron.after(moment, zone), lambda moment: cron.before(moment, zone)
        )
    if not isinstance(spec, ScheduleOnDates):
        raise TypeError(f"{trigger.type} has no dates")
    dates = _listed(spec, _zone(spec.timezone, host), host, variables)
    return Timetable(
        lambda moment: next((one for one in dates if one > moment), None),
        lambda moment: next((one for one in reversed(dates) if one < moment), None),
    )


@lru_cache(maxsize=4096)
def _cron(expression: str, with_seconds: bool) -> Cron:
    return parse_cron(expression, with_seconds)


def _zone(name: str | None, host: Host) -> tzinfo:
    return host.time_zone if name is None else zone_of(name)


def _listed(
    spec: ScheduleOnDates, zone: tzinfo, host: Host, variables: Mapping[str, Any]
) -> list[datetime]:
    items = spec.dates
    if isinstance(items, str):
        items = expressions.render_typed(items, variables, host)
        if isinstance(items, str):
            import json

            try:
                items = json.loads(items)
            except ValueError:
                items = [items]
    found = []
    for item in items:
        text = expressions.render(str(item), variables, host)
        try:
            moment = parse_instant(text)
        except InputRejected:
            raise ExpressionError(f"`dates` holds `{text[:60]}`, which is no date") from None
        found.append(in_zone(moment, zone).replace(microsecond=0))
    return sorted(set(found))


def evaluate(
    flow: Flow,
    trigger: Trigger,
    moment: datetime,
    host: Host,
    variables: Mapping[str, Any],
    *,
    more_inputs: Mapping[str, Any] | None = None,
    more_labels: Mapping[str, str] | None = None,
) -> Start | None:
    """Return the execution that a date asks for; None if the conditions do not let it pass.

    `variables` are those of the flow. What cannot be evaluated is a start that fails, as it would
    be evaluated again and again else. `more_inputs` and `more_labels` win over the trigger's own.
    """
    try:
        dates = timetable(trigger, host, variables).at(moment)
        if dates is None:
            return None
        found = selected(flow, trigger, dates, host, variables)
        if found is None:
            return None
        own = {**_shown(trigger, found), **about_trigger(trigger)}
        inside = {**variables, "trigger": own, "schedule": own}
        inputs = rendered_inputs(trigger, inside, host)
        inputs |= expressions.render_value(dict(more_inputs or {}), inside, host)
        labels = {**rendered_labels(trigger, inside, host), **(more_labels or {})}
    except KestraDagsterError as error:
        return _failed(flow, trigger, moment, error)
    key = date_key(flow, trigger, moment)
    return Start(key, flow.namespace, flow.id, trigger.id, own, inputs, labels, found.date)


def date_key(flow: Flow, trigger: Trigger, moment: datetime) -> str:
    """Return the key of the start at a date."""
    return f"{trigger_key(flow, trigger)}@{moment.astimezone(timezone.utc).isoformat()}"


def _failed(flow: Flow, trigger: Trigger, moment: datetime, error: KestraDagsterError) -> Start:
    key, own = date_key(flow, trigger, moment), {"date": iso_date(moment), **about_trigger(trigger)}
    why = f"the trigger `{trigger.id}` cannot be evaluated: {error}"
    return Start(key, flow.namespace, flow.id, trigger.id, own, date=moment, error=why)


def _shown(trigger: Trigger, dates: Dates) -> dict[str, str]:
    variables = dates.variables()
    return variables if isinstance(trigger.spec, Schedule) else {"date": variables["date"]}


def selected(
    flow: Flow, trigger: Trigger, dates: Dates, host: Host, variables: Mapping[str, Any]
) -> Dates | None:
    """Return a date with the neighbours that the conditions let pass; None if it does not itself.

    Raise what the conditions raise.
    """
    spec = trigger.spec
    if not spec.conditions and spec.when is None:
        return dates
    table = timetable(trigger, host, variables)
    context = ConditionContext(flow.namespace, flow.id, variables, host)
    passes = _Passing(trigger, context)
    if not passes(dates):
        return None
    return Dates(
        dates.date,
        _walk(table, table.after, dates.date, passes, host.now()),
        _walk(table, table.before, dates.date, passes, host.now()),
    )


class _Passing:
    """Asks the conditions of a trigger about dates; those about the day alone, once a day."""

    def __init__(self, trigger: Trigger, context: ConditionContext) -> None:
        spec = trigger.spec
        self._context = context
        self._of_day = [one for one in spec.conditions if _asks_for_day(one)]
        self._others = [one for one in spec.conditions if not _asks_for_day(one)]
        self._when = spec.when
        self._day: tuple[date, bool] | None = None

    def __call__(self, dates: Dates) -> bool:
        own = dates.variables()
        context = self._context.with_variables(trigger=own, schedule=own)
        return self.day_passes(dates, context) and (
            all_hold(self._others, context) and when_holds(self._when, context)
        )

    def day_passes(self, dates: Dates, context: ConditionContext | None = None) -> bool:
        """Say whether any date of that day can pass."""
        day = dates.date.date()
        if self._day is None or self._day[0] != day:
            own = dates.variables()
            context = context or self._context.with_variables(trigger=own, schedule=own)
            self._day = (day, all_hold(self._of_day, context))
        return self._day[1]


def _asks_for_day(condition: written.Condition) -> bool:
    if isinstance(condition, (written.Not, written.Or)):
        return all(map(_asks_for_day, condition.conditions))
    own = isinstance(condition, _BY_DAY) and condition.date == written.TRIGGER_DATE
    return own and not any(
        has_template(value) for name, value in condition if name not in ("date", "type")
    )


def _walk(
    table: Timetable,
    step: Callable[[datetime], datetime | None],
    start: datetime,
    passes: _Passing,
    now: datetime,
) -> datetime | None:
    """Return the nearest date that passes, within ten years of now as in Kestra."""
    found = step(start)
    forward = step is table.after
    for _ in range(MOST_TRIES):
        if found is None or (abs(found - now) > _YEARS and (found > now) == forward):
            return None
        dates = Dates(found, table.after(found), table.before(found))
        if passes(dates):
            return found
        if passes.day_passes(dates):
            found = step(found)
        else:
            found = step(_end_of_day(found) if forward else _start_of_day(found))
    return None


def _start_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0)


def _end_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=23, minute=59, second=59)


def starts_due(
    flow: Flow,
    trigger: Trigger,
    since: datetime,
    until: datetime,
    host: Host,
    variables: Mapping[str, Any],
    *,
    limit: int,
) -> tuple[list[Start], datetime]:
    """Return the executions that the dates after `since` up to `until` ask for, earliest first.

    At most `limit` of them, and the date up to which all is decided. Dates noticed later than
    ON_TIME were missed: `recoverMissedSchedules` says which of them count. What is later than
    `lateMaximumDelay` never does. The clock is that of `host`.
    """
    found: list[Start] = []
    try:
        dates = _due(flow, trigger, since, until, host, variables)
        for moment in dates:
            start = evaluate(flow, trigger, moment, host, variables)
            since = moment
            if start is not None:
                found.append(start)
                if len(found) == limit:
                    return found, since
    except KestraDagsterError as error:
        start = _failed(flow, trigger, until, error)
        return [*found, start], until
    return found, until


def _due(
    flow: Flow,
    trigger: Trigger,
    since: datetime,
    until: datetime,
    host: Host,
    variables: Mapping[str, Any],
) -> Iterator[datetime]:
    spec, now = trigger.spec, host.now()
    assert isinstance(spec, (Schedule, ScheduleOnDates))
    table = timetable(trigger, host, variables)
    latest = spec.late_maximum_delay if isinstance(spec, Schedule) else None
    if latest is not None:
        since = max(since, now - latest - _MOMENT)
    missed = now - ON_TIME
    recover = spec.recover_missed_schedules or "ALL"
    if recover != "ALL" and since < missed:
        if recover == "LAST":
            last = _last_missed(flow, trigger, table, since, min(missed, until), host, variables)
            if last is not None:
                yield last
        since = missed
    yield from table.between(since, until)


def _last_missed(
    flow: Flow,
    trigger: Trigger,
    table: Timetable,
    since: datetime,
    until: datetime,
    host: Host,
    variables: Mapping[str, Any],
) -> datetime | None:
    moment = table.before(until + _MOMENT)
    for _ in range(MOST_TRIES):
        if moment is None or moment <= since:
            return None
        if evaluate(flow, trigger, moment, host, variables) is not None:
            return moment
        moment = table.before(moment)
    return None
