"""Tasks around the log of an execution."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kestra_dagster.flow.model import LogLevel
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import ExecutionFilter, LogLine, TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.items import EXTENSION, write_items


class Log(RunnableSpec):
    """Log a message, or several."""

    message: Dynamic[Text | list[Text]]
    level: Dynamic[LogLevel] = "INFO"

    def run(self, context: TaskContext) -> None:
        messages = self.message if isinstance(self.message, list) else [self.message]
        for message in messages:
            context.log.log(self.level, message)


class Fetch(RunnableSpec):
    """Store the log of an execution, of this one unless another is named."""

    level: Dynamic[LogLevel] = "INFO"
    tasks_id: Dynamic[Text | list[Text]] | None = None
    execution_id: Dynamic[Text] | None = None
    namespace: Dynamic[Text] | None = None
    flow_id: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        tasks = [self.tasks_id] if isinstance(self.tasks_id, str) else self.tasks_id or []
        flow = context.variables["flow"]
        execution_id = self.execution_id or context.variables["execution"]["id"]
        place = {
            "namespace": self.namespace or flow["namespace"],
            "flowId": self.flow_id or flow["id"],
            "executionId": execution_id,
        }
        lines = context.executions.logs(execution_id, self.level, tasks)
        with scratch_file(context) as path:
            size = write_items((place | _described(line) for line in lines), path)
            return {"uri": context.storage.put(path, f"logs{EXTENSION}"), "size": size}


class PurgeLogs(RunnableSpec):
    """Delete old log lines."""

    end_date: Dynamic[datetime]
    start_date: Dynamic[datetime] | None = None
    namespace: Dynamic[Text] | None = None
    flow_id: Dynamic[Text] | None = None
    log_levels: Dynamic[list[LogLevel]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        which = ExecutionFilter(self.namespace, self.flow_id, (), self.start_date, self.end_date)
        return {"count": context.executions.purge_logs(which, self.log_levels or [])}


def _described(line: LogLine) -> dict[str, Any]:
    return {
        "taskId": line.task_id,
        "taskRunId": line.task_run_id,
        "attemptNumber": line.attempt,
        "timestamp": line.timestamp.isoformat(),
        "level": line.level,
        "message": line.message,
    }
