from __future__ import annotations

from dataclasses import replace

import pytest

from kestra_dagster.expressions import ExpressionError
from kestra_dagster.triggers.conditions import all_hold, holds, when_holds

DAY = {"date": "2024-05-05"}  # a Sunday


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("ExecutionStatus", {}, True),
        ("ExecutionStatus", {"in": ["SUCCESS"]}, True),
        ("ExecutionStatus", {"in": ["FAILED"]}, False),
        ("ExecutionStatus", {"in": ["SUCCESS"], "notIn": ["SUCCESS"]}, False),
        ("ExecutionStatus", {"notIn": ["FAILED"]}, True),
        ("HasRetryAttempt", {"in": ["FAILED"]}, True),
        ("HasRetryAttempt", {"in": ["KILLED"]}, False),
        ("HasRetryAttempt", {"notIn": ["FAILED", "SUCCESS"]}, False),
        ("ExecutionFlow", {"namespace": "my.team", "flowId": "up"}, True),
        ("ExecutionFlow", {"namespace": "my", "flowId": "up"}, False),
        ("ExecutionFlow", {"namespace": "{{ flow.namespace }}", "flowId": "up"}, True),
        ("ExecutionNamespace", {"namespace": "my.team"}, True),
        ("ExecutionNamespace", {"namespace": "my"}, False),
        ("ExecutionNamespace", {"namespace": "my", "prefix": True}, True),
        ("ExecutionNamespace", {"namespace": "my", "comparison": "PREFIX"}, True),
        ("ExecutionNamespace", {"namespace": "team", "comparison": "SUFFIX"}, True),
        ("ExecutionNamespace", {"namespace": "my", "prefix": True, "comparison": "EQUALS"}, False),
        ("ExecutionLabels", {"labels": {"env": "prod"}}, True),
        ("ExecutionLabels", {"labels": [{"key": "size", "value": 2}]}, True),
        ("ExecutionLabels", {"labels": {"env": "prod", "size": "3"}}, False),
        ("ExecutionOutputs", {"expression": "{{ trigger.outputs.rows == 3 }}"}, True),
        ("ExecutionOutputs", {"expression": "{{ trigger.outputs.rows > 3 }}"}, False),
        ("FlowCondition", {"namespace": "my.team", "flowId": "down"}, True),
        ("FlowCondition", {"namespace": "my.team", "flowId": "up"}, False),
        ("FlowNamespaceCondition", {"namespace": "my"}, False),
        ("FlowNamespaceCondition", {"namespace": "my", "prefix": True}, True),
        ("Expression", {"expression": "{{ flow.id }}"}, True),
        ("Expression", {"expression": "  false "}, False),
        ("Expression", {"expression": "{{ '  ' }}"}, False),
        ("Expression", {"expression": "0"}, True),
        ("DayWeek", {**DAY, "dayOfWeek": "SUNDAY"}, True),
        ("DayWeek", {**DAY, "dayOfWeek": "{{ 'MON' ~ 'DAY' }}"}, False),
        ("DayWeek", {"date": "2024-05-05T23:30:00-10:00", "dayOfWeek": "SUNDAY"}, True),
        ("DayWeekInMonth", {**DAY, "dayOfWeek": "SUNDAY", "dayInMonth": "FIRST"}, True),
        ("DayWeekInMonth", {**DAY, "dayOfWeek": "SUNDAY", "dayInMonth": "LAST"}, False),
        ("Weekend", DAY, True),
        ("PublicHoliday", {"date": "2024-05-01", "country": "fr"}, True),
        ("PublicHoliday", {"date": "2024-05-02", "country": "FR"}, False),
        ("PublicHoliday", {"date": "2024-10-31", "country": "DE", "subDivision": "bb"}, True),
        ("DateTimeBetween", {**DAY, "after": "2024-05-04T22:00:00Z"}, False),  # midnight in Paris
        ("DateTimeBetween", {**DAY, "after": "2024-05-04T21:59:59Z"}, True),
        (
            "DateTimeBetween",
            {
                "date": "{{ now() }}",
                "after": "{{ '2024-05-01T11:59:59Z' }}",
                "before": "2024-05-01T12:00:00Z",
            },
            False,
        ),
        ("TimeBetween", {"date": "2024-05-05T10:00:00+02:00", "after": "07:59:00Z"}, True),
        ("TimeBetween", {"date": "2024-05-05T10:00:00+02:00", "before": "08:00:00Z"}, False),
    ],
)
def test_a_condition(condition, context, name, properties, expected):
    assert holds(condition(name, **properties), context) is expected


def test_outputs_are_not_asked_for_where_there_are_none(condition, context):
    silent = replace(context, execution=replace(context.execution, outputs=None))
    assert not holds(condition("ExecutionOutputs", expression="{{ missing }}"), silent)


def test_outputs_keep_the_other_variables_of_the_trigger(condition, context):
    known = context.with_variables(trigger={"state": "SUCCESS"})
    asks = condition("ExecutionOutputs", expression="{{ trigger.state ~ trigger.outputs.rows }}")
    assert holds(asks, known)


def test_lists(condition, context):
    yes, no = condition("Expression", expression="yes"), condition("Expression", expression="")
    assert all_hold([], context)
    assert all_hold([yes, yes], context)
    assert not all_hold([yes, no], context)
    inner = [{"type": one.type, "expression": one.expression} for one in (yes, no)]
    assert holds(condition("Or", conditions=inner), context)
    assert not holds(condition("Not", conditions=inner), context)
    assert holds(condition("Not", conditions=inner[1:]), context)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (None, True),
        ("{{ isWeekend('2024-05-05') }}", True),
        ("{{ isWeekend('2024-05-06') }}", False),
        ("0", False),
    ],
)
def test_when(context, when, expected):
    assert when_holds(when, context) is expected


@pytest.mark.parametrize(
    ("name", "properties", "words"),
    [
        ("DateTimeBetween", DAY, "neither `after` nor `before`"),
        ("TimeBetween", {"date": "noon", "after": "07:00:00Z"}, "`noon`"),
        ("Weekend", {}, "`trigger` not found"),
        ("DayWeek", {**DAY, "dayOfWeek": "{{ 'SOMEDAY' }}"}, "`SOMEDAY`"),
        ("PublicHoliday", {**DAY, "country": "XX"}, "XX"),
        (
            "DayWeekInMonth",
            {**DAY, "dayOfWeek": "SUNDAY", "dayInMonth": "{{ 'FIFTH' }}"},
            "`FIFTH` is not a position",
        ),
        ("DateTimeBetween", {**DAY, "after": "{{ 'later' }}"}, "`later`"),
        (
            "MultipleCondition",
            {
                "id": "m",
                "conditions": {
                    "a": {"type": "io.kestra.plugin.core.condition.Expression", "expression": "a"}
                },
            },
            "Flow trigger",
        ),
    ],
)
def test_what_cannot_be_answered_says_why(condition, context, name, properties, words):
    with pytest.raises(ExpressionError, match=words):
        holds(condition(name, **properties), context)


def test_without_an_execution(condition, context):
    alone = replace(context, execution=None)
    with pytest.raises(ExpressionError, match="`ExecutionStatus` asks about an execution"):
        holds(condition("ExecutionStatus"), alone)
