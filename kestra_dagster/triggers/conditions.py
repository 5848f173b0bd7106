"""Conditions of triggers and listeners, evaluated: do they hold for this flow, this execution, now?

Of the package this imports flow/ and expressions/ alone, so that a running execution may ask too.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, TypeVar

from kestra_dagster import expressions
from kestra_dagster.expressions import ExpressionError, Host
from kestra_dagster.expressions.functions_dates import is_holiday, is_place_in_month
from kestra_dagster.expressions.java_time import Moment, parse_iso
from kestra_dagster.flow import conditions as written
from kestra_dagster.flow.flow import label_map
from kestra_dagster.flow.properties import has_template

C = TypeVar("C", bound=written.Condition)
_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


@dataclass(frozen=True, slots=True)
class ExecutionFacts:
    """What conditions may ask of an execution.

    `outputs` are those of the flow, None where it has none. `attempts` holds the states of the
    tries of each task run.
    """

    id: str
    namespace: str
    flow_id: str
    state: str
    labels: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Any] | None = None
    attempts: tuple[tuple[str, ...], ...] = ()
    revision: int = 1


@dataclass(frozen=True, slots=True)
class ConditionContext:
    """Where conditions are asked: the flow that has them, the variables, the execution if any.

    The clock, the time zone and secrets are those of `host`. `multiple` answers for a
    MultipleCondition, which remembers earlier executions; without it such a condition is an error.
    """

    namespace: str
    flow_id: str
    variables: Mapping[str, Any]
    host: Host
    execution: ExecutionFacts | None = None
    multiple: Callable[[written.MultipleCondition], bool] | None = None

    def with_variables(self, **variables: Any) -> ConditionContext:
        """Return the context with more variables, over those of the same name."""
        # A chain, as some of the variables are made only when they are asked for.
        return replace(self, variables=ChainMap(variables, self.variables))  # type: ignore[arg-type]


def all_hold(conditions: Iterable[written.Condition], context: ConditionContext) -> bool:
    """Say whether all conditions hold.

    Raise ExpressionError, or what `secret()` and the like raise, where one cannot be answered.
    """
    return all(holds(condition, context) for condition in conditions)


def holds(condition: written.Condition, context: ConditionContext) -> bool:
    """Say whether a condition holds; raise ExpressionError where that cannot be answered."""
    return _ANSWERS[type(condition)](condition, context)


def when_holds(when: str | None, context: ConditionContext) -> bool:
    """Say whether a `when` (2.x) lets pass; none does."""
    if when is None:
        return True
    return expressions.truthy(expressions.render(when, context.variables, context.host).strip())


def _text(value: str, context: ConditionContext) -> str:
    return expressions.render(value, context.variables, context.host)


def _optional(value: str | None, context: ConditionContext) -> str | None:
    return None if value is None else _text(value, context) or None


def _execution(condition: written.Condition, context: ConditionContext) -> ExecutionFacts:
    if context.execution is None:
        raise ExpressionError(
            f"the condition `{condition.name}` asks about an execution, and there is none here",
            hint="it belongs to a Flow trigger or a listener",
        )
    return context.execution


def _status(condition: written.ExecutionStatus, context: ConditionContext) -> bool:
    return _allowed(_execution(condition, context).state, condition)


def _retry_attempt(condition: written.HasRetryAttempt, context: ConditionContext) -> bool:
    tries = _execution(condition, context).attempts
    return any(_allowed(state, condition) for states in tries for state in states)


def _allowed(state: str, condition: written.ExecutionStatus) -> bool:
    inside = condition.in_ is None or state in condition.in_
    return inside and state not in (condition.not_in or ())


def _flow_of_execution(condition: written.ExecutionFlow, context: ConditionContext) -> bool:
    execution = _execution(condition, context)
    wanted = (_text(condition.namespace, context), _text(condition.flow_id, context))
    return (execution.namespace, execution.flow_id) == wanted


def _namespace_of_execution(
    condition: written.ExecutionNamespace, context: ConditionContext
) -> bool:
    actual = _execution(condition, context).namespace
    wanted = _text(condition.namespace, context)
    prefix = condition.prefix
    if isinstance(prefix, str):
        prefix = expressions.truthy(_text(prefix, context))
    comparison = _optional(condition.comparison, context) or ("PREFIX" if prefix else "EQUALS")
    if comparison == "PREFIX":
        return actual.startswith(wanted)
    return actual.endswith(wanted) if comparison == "SUFFIX" else actual == wanted


def _labels(condition: written.ExecutionLabels, context: ConditionContext) -> bool:
    labels = _execution(condition, context).labels
    wanted = label_map(condition.labels)
    return all(labels.get(str(key)) == str(value) for key, value in wanted.items())


def _outputs(condition: written.ExecutionOutputs, context: ConditionContext) -> bool:
    outputs = _execution(condition, context).outputs
    if not outputs:
        return False
    trigger = context.variables.get("trigger")
    known = trigger if isinstance(trigger, Mapping) else {}
    inner = context.with_variables(trigger={**known, "outputs": outputs})
    return _is_true(_text(condition.expression, inner))


def _own_flow(condition: written.FlowCondition, context: ConditionContext) -> bool:
    return (context.namespace, context.flow_id) == (condition.namespace, condition.flow_id)


def _own_namespace(condition: written.FlowNamespaceCondition, context: ConditionContext) -> bool:
    if condition.prefix:
        return context.namespace.startswith(condition.namespace)
    return context.namespace == condition.namespace


def _expression(condition: written.Expression, context: ConditionContext) -> bool:
    return _is_true(_text(condition.expression, context))


def _is_true(text: str) -> bool:
    return text.strip() not in ("", "false")


def _date_time_between(condition: written.DateTimeBetween, context: ConditionContext) -> bool:
    when = _moment(condition.date, condition, context)
    zone = when.tzinfo
    bounds = [
        None if bound is None else _bound(bound, condition, context, datetime.fromisoformat)
        for bound in (condition.after, condition.before)
    ]
    after, before = (
        bound.replace(tzinfo=zone) if bound is not None and bound.tzinfo is None else bound
        for bound in bounds
    )
    return _between(when, after, before, condition)


def _time_between(condition: written.TimeBetween, context: ConditionContext) -> bool:
    moment = _moment(condition.date, condition, context)
    # A time of day in a zone has no offset in Python, as that depends on the day.
    offset = moment.timetz().replace(tzinfo=timezone(moment.utcoffset() or timedelta()))
    bounds = [
        None if bound is None else _bound(bound, condition, context, time.fromisoformat)
        for bound in (condition.after, condition.before)
    ]
    after, before = (
        bound.replace(tzinfo=offset.tzinfo) if bound is not None and bound.tzinfo is None else bound
        for bound in bounds
    )
    return _between(offset, after, before, condition)


def _between(actual: Any, after: Any, before: Any, condition: written.Condition) -> bool:
    if after is None and before is None:
        raise ExpressionError(
            f"the condition `{condition.name}` has neither `after` nor `before`",
            hint="give one of them, or both",
        )
    return (after is None or actual > after) and (before is None or actual < before)


def _bound(
    value: Any, condition: written.Condition, context: ConditionContext, read: Callable[[str], Any]
) -> Any:
    if not isinstance(value, str):
        return value
    text = _text(value, context)
    try:
        return read(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise ExpressionError(
            f"`after` and `before` of the condition `{condition.name}` do not take `{text[:60]}`"
        ) from None


def _day_week(condition: written.DayWeek, context: ConditionContext) -> bool:
    day = _day(condition.date, condition, context)
    return day.weekday() == _weekday(condition.day_of_week, condition, context)


def _day_week_in_month(condition: written.DayWeekInMonth, context: ConditionContext) -> bool:
    day = _day(condition.date, condition, context)
    weekday = _weekday(condition.day_of_week, condition, context)
    return is_place_in_month(day, weekday, _text(condition.day_in_month, context).strip())


def _weekend(condition: written.Weekend, context: ConditionContext) -> bool:
    return _day(condition.date, condition, context).weekday() >= 5


def _public_holiday(condition: written.PublicHoliday, context: ConditionContext) -> bool:
    day = _day(condition.date, condition, context)
    country = _optional(condition.country, context)
    if country is None:
        import locale

        country = (locale.getlocale()[0] or "").partition("_")[2] or "US"
    return is_holiday(day, country, _optional(condition.sub_division, context) or "")


def _weekday(value: str, condition: written.Condition, context: ConditionContext) -> int:
    name = _text(value, context).strip().upper()
    if name not in _DAYS:
        raise ExpressionError(
            f"`{name[:40]}` in the condition `{condition.name}` is not a day of the week",
            hint=f"write one of {', '.join(_DAYS)}",
        )
    return _DAYS.index(name)


def _parsed(value: str, condition: written.Condition, context: ConditionContext) -> Moment | date:
    text = _text(value, context).strip()
    found = parse_iso(text)
    if found is None:
        what = f" (from `{value}`)" if has_template(value) else ""
        raise ExpressionError(
            f"the date of the condition `{condition.name}` is `{text[:60]}`{what}",
            hint="write a date as `2025-01-31` or `2025-01-31T09:00:00Z`",
        )
    return found


def _day(value: str, condition: written.Condition, context: ConditionContext) -> date:
    """Return the day as it is written, without a change of zone."""
    parsed = _parsed(value, condition, context)
    return parsed.when.date() if isinstance(parsed, Moment) else parsed


def _moment(value: str, condition: written.Condition, context: ConditionContext) -> datetime:
    parsed = _parsed(value, condition, context)
    when = parsed.when if isinstance(parsed, Moment) else datetime.combine(parsed, time())
    return when if when.tzinfo else when.replace(tzinfo=context.host.time_zone)


def _not(condition: written.Not, context: ConditionContext) -> bool:
    return not any(holds(inner, context) for inner in condition.conditions)


def _or(condition: written.Or, context: ConditionContext) -> bool:
    return any(holds(inner, context) for inner in condition.conditions)


def _multiple(condition: written.MultipleCondition, context: ConditionContext) -> bool:
    if context.multiple is None:
        raise ExpressionError(
            "a `MultipleCondition` remembers executions of other flows, which only a Flow trigger "
            "does",
            hint="use it among the conditions of a Flow trigger",
        )
    return context.multiple(condition)


_ANSWERS: Mapping[type[written.Condition], Callable[[Any, ConditionContext], bool]] = {
    written.ExecutionStatus: _status,
    written.HasRetryAttempt: _retry_attempt,
    written.ExecutionFlow: _flow_of_execution,
    written.ExecutionNamespace: _namespace_of_execution,
    written.ExecutionLabels: _labels,
    written.ExecutionOutputs: _outputs,
    written.FlowCondition: _own_flow,
    written.FlowNamespaceCondition: _own_namespace,
    written.Expression: _expression,
    written.DateTimeBetween: _date_time_between,
    written.TimeBetween: _time_between,
    written.DayWeek: _day_week,
    written.DayWeekInMonth: _day_week_in_month,
    written.Weekend: _weekend,
    written.PublicHoliday: _public_holiday,
    written.Not: _not,
    written.Or: _or,
    written.MultipleCondition: _multiple,
}
