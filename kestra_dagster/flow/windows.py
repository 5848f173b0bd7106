"""Windows of time and filters in which a Flow trigger collects executions."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.properties import Duration, Text


def _time(value: object) -> time:
    if isinstance(value, time):
        return value
    if isinstance(value, str):
        try:
            return time.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            pass
    raise refusal(f"is not a time of day: `{value}`; write one like `09:00:00`")


DayTime = Annotated[time, BeforeValidator(_time)]

WindowType = Literal[
    "DURATION_WINDOW", "SLIDING_WINDOW", "DAILY_TIME_DEADLINE", "DAILY_TIME_WINDOW"
]


class TimeWindow(Part):
    """In which span all preconditions have to be met (`timeWindow`, before 2.0)."""

    type: WindowType = "DURATION_WINDOW"
    deadline: DayTime | None = None
    window: Duration | None = None
    window_advance: Duration | None = None
    start_time: DayTime | None = None
    end_time: DayTime | None = None

    @model_validator(mode="after")
    def _check(self) -> TimeWindow:
        takes = {
            "DURATION_WINDOW": (),
            "SLIDING_WINDOW": ("window",),
            "DAILY_TIME_DEADLINE": ("deadline",),
            "DAILY_TIME_WINDOW": ("start_time", "end_time"),
        }[self.type]
        allowed = {*takes, *(("window", "window_advance") if not takes else ())}
        spoken = {
            "deadline": "a deadline",
            "window": "a window",
            "window_advance": "a window advance",
            "start_time": "a start time",
            "end_time": "an end time",
        }
        kind = f"Time window of type `{self.type}`"
        wrong = [f"{kind} must have {spoken[name]}." for name in takes if not getattr(self, name)]
        wrong += [
            f"{kind} cannot have {text}."
            for name, text in spoken.items()
            if name not in allowed and getattr(self, name) is not None
        ]
        if wrong:
            raise refusal(" ".join(wrong))
        return self


class FlowWindow(Part):
    """In which span all dependencies have to be met (`window`, 2.x); exactly one form."""

    deadline: DayTime | None = None
    from_: DayTime | None = Field(None, alias="from")
    to: DayTime | None = None
    every: Duration | None = None
    offset: Duration | None = None
    lookback: Duration | None = None
    fire_once: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> FlowWindow:
        forms = [
            self.deadline is not None,
            self.from_ is not None or self.to is not None,
            self.every is not None,
            self.lookback is not None,
        ]
        if sum(forms) != 1:
            raise refusal("needs exactly one of `deadline`, `from` and `to`, `every`, `lookback`")
        if (self.from_ is None) != (self.to is None):
            raise refusal("needs both `from` and `to`")
        return self


_UNARY = ("IS_NULL", "IS_NOT_NULL", "IS_TRUE", "IS_FALSE")
_LISTS = ("IN", "NOT_IN")


class ExecutionFilter(Part):
    """One comparison with a property of an upstream execution."""

    field: Literal["FLOW_ID", "NAMESPACE", "STATE", "EXPRESSION"]
    type: Literal[
        "EQUAL_TO",
        "NOT_EQUAL_TO",
        "IN",
        "NOT_IN",
        "IS_TRUE",
        "IS_FALSE",
        "IS_NULL",
        "IS_NOT_NULL",
        "STARTS_WITH",
        "ENDS_WITH",
        "REGEX",
        "CONTAINS",
    ]
    value: Text | None = None
    values: tuple[Text, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> ExecutionFilter:
        wrong = []
        if self.type in _LISTS:
            if self.value is not None:
                wrong.append(f"`value` must be null for type {self.type}")
            if self.values is None:
                wrong.append(f"`values` cannot be null for type {self.type}")
        else:
            if self.values is not None:
                wrong.append(f"`values` must be null for type {self.type}")
            if self.value is None and self.type not in _UNARY:
                wrong.append(f"`value` cannot be null for type {self.type}")
        if wrong:
            raise refusal(", ".join(wrong))
        return self


class ExecutionWhere(Part):
    """Filters on upstream executions, joined by `operand`."""

    id: Text
    operand: Literal["AND", "OR"] = "AND"
    filters: Annotated[tuple[ExecutionFilter, ...], Field(min_length=1)]
