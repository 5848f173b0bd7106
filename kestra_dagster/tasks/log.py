"""Tasks around the log of an execution."""

from __future__ import annotations

from kestra_dagster.flow.model import LogLevel
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


class Log(RunnableSpec):
    """Log a message, or several."""

    message: Dynamic[Text | list[Text]]
    level: Dynamic[LogLevel] = "INFO"

    def run(self, context: TaskContext) -> None:
        messages = self.message if isinstance(self.message, list) else [self.message]
        for message in messages:
            context.log.log(self.level, message)
