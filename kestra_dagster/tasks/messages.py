"""What the tasks of message brokers have in common: limits, how data is written, stored results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic
from kestra_dagster.flow.task_types import RunnableSpec

Serde = Literal["STRING", "JSON"]
MOST_AT_ONCE = 10_000
"""How many messages a trigger without `maxRecords` hands to one execution."""


class LimitedSpec(RunnableSpec):
    """A task that takes messages until it has enough, or for long enough."""

    max_records: Dynamic[int | None] = Field(default=None, ge=1)
    max_duration: Dynamic[Duration] | None = None

    def check_limits(self) -> None:
        """Raise TaskMisconfigured where the task would never end."""
        if self.max_records is None and self.max_duration is None:
            raise TaskMisconfigured("one of `maxRecords` and `maxDuration` has to be set")

    def enough(self) -> Callable[[int], bool]:
        """Start the clock; the function says whether to stop after so many messages."""
        until = time.monotonic() + (self.max_duration or timedelta(days=365)).total_seconds()
        most = self.max_records
        return lambda count: (most is not None and count >= most) or time.monotonic() >= until


def decoded(data: bytes | str, how: Serde, what: str = "a message") -> Any:
    """Return the text of a message, or what its JSON says; errors call it `what`."""
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise TaskFailed(f"{what} is not text in UTF-8: {error.reason}") from error
    if how == "STRING":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise TaskFailed(
            f"{what} is not JSON: {error}", hint="set `serdeType: STRING` for plain text"
        ) from error


def encoded(value: Any, how: Serde = "STRING") -> bytes:
    """Return data as it travels: text as it is unless it goes as JSON, anything else as JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and how == "STRING":
        return value.encode()
    return json.dumps(value, ensure_ascii=False).encode()
