"""Conditions of triggers and listeners, as flows before 2.0 write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from typing import Annotated, Any, Literal

from pydantic import Field

from kestra_dagster.flow.dialects import CORE, canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.windows import TimeWindow

State = Literal[
    "CREATED",
    "RUNNING",
    "PAUSED",
    "RESTARTED",
    "KILLING",
    "SUCCESS",
    "WARNING",
    "FAILED",
    "KILLED",
    "CANCELLED",
    "QUEUED",
    "RETRYING",
    "RETRIED",
    "SKIPPED",
    "BREAKPOINT",
]
Day = Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
TRIGGER_DATE = "{{ trigger.date }}"


class Condition(Part):
    """What all conditions have; a list of conditions holds when all of them do."""

    type: str
    id: Text | None = None
    """What a MultipleCondition is remembered by."""

    @property
    def name(self) -> str:
        """The current name of the type without its package, such as `ExecutionStatus`."""
        return canonical(self.type).rpartition(".")[2]


AnyCondition = Annotated[Condition, by_type("condition", lambda: CONDITIONS, canonical)]
"""A condition of the type that its map names."""


class ExecutionStatus(Condition):
    in_: tuple[State, ...] | None = Field(None, alias="in")
    not_in: tuple[State, ...] | None = None


class HasRetryAttempt(ExecutionStatus):
    pass


class ExecutionFlow(Condition):
    namespace: Dynamic[Text]
    flow_id: Dynamic[Text]


class ExecutionNamespace(Condition):
    namespace: Dynamic[Text]
    comparison: Dynamic[Literal["EQUALS", "PREFIX", "SUFFIX"] | None] = None
    prefix: Dynamic[bool] = False


class ExecutionLabels(Condition):
    labels: dict[str, Text] | list[dict[str, Any]]


class ExecutionOutputs(Condition):
    expression: Text


class FlowCondition(Condition):
    namespace: Text
    flow_id: Text


class FlowNamespaceCondition(Condition):
    namespace: Text
    prefix: bool = False


class Expression(Condition):
    expression: Text


class DateTimeBetween(Condition):
    date: Dynamic[Text] = TRIGGER_DATE
    after: Dynamic[datetime | None] = None
    before: Dynamic[datetime | None] = None


class TimeBetween(Condition):
    date: Dynamic[Text] = TRIGGER_DATE
    after: Dynamic[time | None] = None
    before: Dynamic[time | None] = None


class DayWeek(Condition):
    date: Dynamic[Text] = TRIGGER_DATE
    day_of_week: Dynamic[Day]


class DayWeekInMonth(Condition):
    date: Dynamic[Text] = TRIGGER_DATE
    day_of_week: Dynamic[Day]
    day_in_month: Dynamic[Literal["FIRST", "LAST", "SECOND", "THIRD", "FOURTH"]]


class Weekend(Condition):
    date: Dynamic[Text] = TRIGGER_DATE


class PublicHoliday(Condition):
    date: Dynamic[Text] = TRIGGER_DATE
    country: Dynamic[Text | None] = None
    sub_division: Dynamic[Text | None] = None


class Not(Condition):
    conditions: Annotated[tuple[AnyCondition, ...], Field(min_length=1)]


class Or(Condition):
    conditions: Annotated[tuple[AnyCondition, ...], Field(min_length=1)]


class MultipleCondition(Condition):
    window: Duration | None = None
    window_advance: Duration | None = None
    time_window: TimeWindow | None = None
    reset_on_success: bool = True
    conditions: Annotated[dict[str, AnyCondition], Field(min_length=1)]


CONDITIONS: Mapping[str, type[Condition]] = {
    f"{CORE}condition.{model.__name__}": model
    for model in (
        ExecutionStatus,
        HasRetryAttempt,
        ExecutionFlow,
        ExecutionNamespace,
        ExecutionLabels,
        ExecutionOutputs,
        FlowCondition,
        FlowNamespaceCondition,
        Expression,
        DateTimeBetween,
        TimeBetween,
        DayWeek,
        DayWeekInMonth,
        Weekend,
        PublicHoliday,
        Not,
        Or,
        MultipleCondition,
    )
}
"""Canonical type name -> model of every condition."""
