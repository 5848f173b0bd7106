"""Retry policies as flows write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kestra_dagster.flow.model import Retry
from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Duration, duration_text


class RetrySpec(Part):
    """What every retry policy has."""

    type: str
    max_attempts: Annotated[int, Field(ge=1)] | None = None
    max_duration: Duration | None = None
    warning_on_retry: bool = False
    behavior: Literal["RETRY_FAILED_TASK", "CREATE_NEW_EXECUTION"] = "RETRY_FAILED_TASK"

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "maxAttempt" in data and "maxAttempts" not in data:
            return {
                ("maxAttempts" if key == "maxAttempt" else key): value
                for key, value in data.items()
            }
        return data

    def policy(self) -> Retry:
        """Return the policy as a plain value."""
        return Retry(**self.model_dump())


class ConstantRetry(RetrySpec):
    """The same pause before each attempt."""

    interval: Duration

    @model_validator(mode="after")
    def _check(self) -> ConstantRetry:
        _less("interval", self.interval, "maxDuration", self.max_duration)
        return self


class ExponentialRetry(RetrySpec):
    """Pauses that grow up to `max_interval`."""

    interval: Duration
    max_interval: Duration
    delay_factor: float | None = None

    @model_validator(mode="after")
    def _check(self) -> ExponentialRetry:
        _less("interval", self.interval, "maxInterval", self.max_interval)
        _less("interval", self.interval, "maxDuration", self.max_duration)
        return self


class RandomRetry(RetrySpec):
    """A pause between `min_interval` and `max_interval`."""

    min_interval: Duration
    max_interval: Duration

    @model_validator(mode="after")
    def _check(self) -> RandomRetry:
        _less("minInterval", self.min_interval, "maxInterval", self.max_interval)
        _less("maxInterval", self.max_interval, "maxDuration", self.max_duration)
        return self


RETRY_TYPES: dict[str, type[RetrySpec]] = {
    "constant": ConstantRetry,
    "exponential": ExponentialRetry,
    "random": RandomRetry,
}

AnyRetry = Annotated[RetrySpec, by_type("retry", lambda: RETRY_TYPES)]
"""A retry policy of the type that its map names."""


def _less(name: str, value: timedelta, other: str, limit: timedelta | None) -> None:
    if limit is not None and value > limit:
        why = f"'{name}' must be less than '{other}' but is {duration_text(value)}"
        raise refusal(why, at=name)
