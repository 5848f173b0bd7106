"""Tasks that act on the execution they belong to."""

from __future__ import annotations

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


def is_truthy(rendered: str) -> bool:
    """Say whether a rendered condition holds, as Kestra's TruthUtils does."""
    return rendered.strip() not in ("", "false", "0", "-0")


class Fail(RunnableSpec):
    """Fail the execution, if a condition holds."""

    condition: Dynamic[Text] | None = None
    error_message: Dynamic[Text] = "Task failure"

    def run(self, context: TaskContext) -> None:
        if self.condition is None or is_truthy(self.condition):
            raise TaskFailed(self.error_message)
