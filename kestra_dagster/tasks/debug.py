"""Tasks that show a rendered text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from kestra_dagster.flow.model import LogLevel
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


class Return(RunnableSpec):
    """Render a text and return it."""

    deprecated: ClassVar[Mapping[str, str]] = {"level": "a `core.log.Log` task"}

    format: Dynamic[Text] | None = None
    level: Dynamic[LogLevel] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        started = time.perf_counter()
        if self.format is not None:
            context.log.log(self.level or "DEBUG", self.format)
        context.metric("length", len(self.format or ""))
        context.metric("duration", time.perf_counter() - started, "timer")
        return {"value": self.format}


class Echo(RunnableSpec):
    """Log a rendered text."""

    format: Dynamic[Text] | None = None
    level: Dynamic[LogLevel] = "INFO"

    def run(self, context: TaskContext) -> None:
        context.log.log(self.level, self.format or "")
