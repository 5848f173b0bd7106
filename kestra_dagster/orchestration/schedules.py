"""Schedule and ScheduleOnDates triggers as Dagster schedules.

A Dagster schedule ticks by the minute and reckons changes of the clock in its own way. So a tick
asks which of Kestra's dates have come since the last one; dates at which Dagster does not tick are
started by the sensor of the location (`sensors.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone, tzinfo

import dagster as dg

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.flow.input_values import InputRejected, parse_instant
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import has_template
from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates, Trigger
from kestra_dagster.orchestration.dispatch import Dispatch
from kestra_dagster.orchestration.instances import instance_of
from kestra_dagster.orchestration.switches import running_since
from kestra_dagster.orchestration.trigger_desk import is_enabled
from kestra_dagster.runtime.host import server_zone
from kestra_dagster.triggers.cron import Cron, in_zone, parse_cron
from kestra_dagster.triggers.starts import trigger_key

_PLAIN = re.compile(r"\*(/\d+)?|[A-Za-z]{3}(-[A-Za-z]{3})?|\d+(-\d+)?(,\d+(-\d+)?)*")
NEVER = "0 0 31 12 *"
"""What a schedule without any date to come ticks at, as it has to tick at something."""


def schedules(dispatch: Dispatch) -> list[dg.ScheduleDefinition]:
    """Return a Dagster schedule for every trigger that goes by dates."""
    return [
        _schedule(dispatch, flow, trigger)
        for flow, trigger in dispatch.book.triggers.values()
        if isinstance(trigger.spec, (Schedule, ScheduleOnDates))
    ]


def _schedule(dispatch: Dispatch, flow: Flow, trigger: Trigger) -> dg.ScheduleDefinition:
    name = dispatch.name_of(flow, trigger)
    enabled = is_enabled(flow, trigger)
    crons, zone = ticks_of(trigger)

    def evaluate(context: dg.ScheduleEvaluationContext):
        if enabled:
            yield from _tick(context, dispatch, flow, trigger, name)
        else:
            yield dg.SkipReason("it is disabled in the flow")

    return dg.ScheduleDefinition(
        name=name,
        job_name=dispatch.jobs[flow.namespace, flow.id],
        cron_schedule=crons,
        execution_timezone=zone,
        execution_fn=evaluate,
        description=trigger.spec.description or _describe(trigger),
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if enabled else dg.DefaultScheduleStatus.STOPPED
        ),
        tags={"kestra/namespace": flow.namespace, "kestra/type": trigger.type},
    )


def _tick(
    context: dg.ScheduleEvaluationContext,
    dispatch: Dispatch,
    flow: Flow,
    trigger: Trigger,
    name: str,
) -> Iterable[dg.RunRequest | dg.SkipReason]:
    instance = instance_of(context)
    at = context.scheduled_execution_time.astimezone(timezone.utc)
    key = trigger_key(flow, trigger)
    desk = dispatch.desk(instance)
    with desk.store.work() as work:
        known = work.get(f"dates:{key}")
        not_before = None
        if known is not None and at - datetime.fromisoformat(known["date"]) > timedelta(minutes=1):
            not_before = running_since(instance, name)
        why = desk.dates(work, flow, trigger, at, not_before)
        requests = dispatch.requests(instance, work, lambda asked: asked.trigger == key)
    for note in desk.notes:
        context.log.warning(note)
    return requests or [dg.SkipReason(why or "it was started already")]


def ticks_of(trigger: Trigger) -> tuple[str | list[str], str]:
    """Return when a trigger's schedule ticks: cron expressions of minutes, and their zone."""
    spec = trigger.spec
    if isinstance(spec, Schedule):
        cron = parse_cron(spec.cron, spec.with_seconds)
        fields = cron.text.split()
        text = " ".join(fields[1:] if spec.with_seconds else fields)
        zone = _zone_name(spec.timezone)
        return (text if _is_plain(text) else _spelt_out(cron)), zone
    assert isinstance(spec, ScheduleOnDates)
    zone = _zone_name(spec.timezone)
    return _date_ticks(spec, zone) or NEVER, zone


def _date_ticks(spec: ScheduleOnDates, zone: str) -> list[str]:
    from zoneinfo import ZoneInfo

    found = []
    for text in spec.dates if isinstance(spec.dates, list) else ():
        if has_template(text):
            continue
        try:
            here = parse_instant(text).astimezone(ZoneInfo(zone))
        except (InputRejected, KestraDagsterError):
            continue
        if here.second or here.microsecond:
            here += timedelta(minutes=1)
        found.append(f"{here.minute} {here.hour} {here.day} {here.month} *")
    return sorted(set(found))


def _is_plain(cron: str) -> bool:
    """Say whether Dagster reads an expression as Kestra does."""
    *fields, weekday = cron.split()
    return all(map(_PLAIN.fullmatch, (*fields, weekday))) and not re.search("7|-0", weekday)


def _spelt_out(cron: Cron) -> str:
    days = "*" if cron.any_day else _list(cron.days)
    weekdays = "*" if cron.any_weekday else _list(cron.weekdays)
    return f"{_list(cron.minutes)} {_list(cron.hours)} {days} {_list(cron.months)} {weekdays}"


def _list(values: frozenset[int]) -> str:
    return ",".join(str(value) for value in sorted(values))


def _zone_name(written: str | None) -> str:
    """Return an IANA name for a zone; one of a fixed offset in whole hours has one too."""
    from kestra_dagster.expressions.java_time import zone_of

    zone: tzinfo = server_zone() if written is None else zone_of(written)
    name = getattr(zone, "key", None)
    if name is not None:
        return name
    offset = zone.utcoffset(None) or timedelta()
    hours, rest = divmod(int(offset.total_seconds()), 3600)
    return f"Etc/GMT{-hours:+d}" if hours and not rest and -12 <= hours <= 14 else "UTC"


def dagster_ticks_at(moment: datetime, zone: tzinfo) -> bool:
    """Say whether Dagster can be trusted to tick at a date: on the minute, where no clock changes.

    Its cron expressions are off where a zone is not whole hours from UTC (dagster 1.13).
    """
    here = in_zone(moment, zone)
    twice = moment.astimezone(zone)
    ambiguous = twice.replace(fold=0).utcoffset() != twice.replace(fold=1).utcoffset()
    whole = (here.utcoffset() or timedelta()) % timedelta(hours=1) == timedelta()
    return not (moment.second or ambiguous) and whole


def _describe(trigger: Trigger) -> str:
    spec = trigger.spec
    if isinstance(spec, Schedule):
        return f"Kestra's `{spec.cron}` of `{trigger.id}`"
    assert isinstance(spec, ScheduleOnDates)
    dates: Sequence[str] = spec.dates if isinstance(spec.dates, list) else (spec.dates,)
    return "Kestra's dates: " + ", ".join(dates)
