"""AWS services that do work when asked: Lambda, Athena, Glue."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.rows import plain

_ATHENA_SECONDS = 0.5
_ATHENA_METRICS = {
    "DataScannedInBytes": "data.scanned.bytes",
    "EngineExecutionTimeInMillis": "engine.execution.duration",
    "QueryPlanningTimeInMillis": "query.planning.duration",
    "QueryQueueTimeInMillis": "query.queue.duration",
    "ServiceProcessingTimeInMillis": "service.processing.duration",
    "TotalExecutionTimeInMillis": "total.execution.duration",
}
_GLUE_RUNS = ("STARTING", "RUNNING", "WAITING", "STOPPING")


class Invoke(AwsSpec):
    """Call a Lambda function, wait for it, and store what it answers.

    The last lines that the function logged are logged here.
    """

    function_arn: Dynamic[Text]
    function_payload: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        began = time.monotonic()
        payload = self.function_payload
        with aws_errors(f"call the function `{self.function_arn}`"):
            answer = self.client("lambda").invoke(
                FunctionName=self.function_arn,
                LogType="Tail",
                **({"Payload": json.dumps(payload).encode()} if payload else {}),
            )
            body = answer["Payload"].read()
        context.metric("duration", time.monotonic() - began, "timer")
        said = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        for line in filter(None, map(str.strip, said.splitlines())):
            context.log.info(f"[lambda] {line}")
        if answer.get("FunctionError"):
            raise TaskFailed(
                f"the function `{self.function_arn}` failed: {body[:2000].decode(errors='replace')}"
            )
        context.metric("file.size", len(body))
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return {
            "uri": context.storage.put(body, "answer.json"),
            "contentLength": len(body),
            "contentType": headers.get("content-type", "application/octet-stream"),
        }


class AthenaQuery(AwsSpec):
    """Run SQL in Athena; with `fetchType: NONE` without waiting for it."""

    catalog: Dynamic[Text] | None = None
    database: Dynamic[Text]
    output_location: Dynamic[Text]
    query: Dynamic[Text]
    fetch_type: Dynamic[FetchType] = "STORE"
    skip_header: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        place = {"Database": self.database, **({"Catalog": self.catalog} if self.catalog else {})}
        with aws_errors("run the query in Athena"):
            client = self.client("athena")
            started = client.start_query_execution(
                QueryString=self.query,
                QueryExecutionContext=place,
                ResultConfiguration={"OutputLocation": self.output_location},
            )["QueryExecutionId"]
            context.log.info(f"Athena runs the query as `{started}`")
            if self.fetch_type == "NONE":
                return {"queryExecutionId": started}
            self._wait(client, started, context)
            outputs = fetched(self._rows(client, started), self.fetch_type, context)
        context.metric("total.rows", outputs["size"])
        context.metric("fetch.rows", outputs["size"])
        return {"queryExecutionId": started, **outputs}

    def _wait(self, client: Any, query: str, context: TaskContext) -> None:
        forget = context.cancel.on_cancel(
            lambda: client.stop_query_execution(QueryExecutionId=query)
        )
        try:
            while True:
                found = client.get_query_execution(QueryExecutionId=query)["QueryExecution"]
                state = found["Status"]["State"]
                if state == "SUCCEEDED":
                    counted = found.get("Statistics", {})
                    for field, metric in _ATHENA_METRICS.items():
                        if (value := counted.get(field)) is not None:
                            context.metric(metric, value)
                    return
                if state in ("FAILED", "CANCELLED"):
                    why = found["Status"].get("StateChangeReason", "no reason is given")
                    raise TaskFailed(f"the query ended {state}: {why}")
                context.cancel.sleep(_ATHENA_SECONDS)
        finally:
            forget()

    def _rows(self, client: Any, query: str) -> Iterator[dict[str, Any]]:
        skip = self.skip_header
        pages = client.get_paginator("get_query_results").paginate(QueryExecutionId=query)
        for page in pages:
            columns = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
            for row in page["ResultSet"]["Rows"]:
                if skip:
                    skip = False
                    continue
                cells = [cell.get("VarCharValue") for cell in row.get("Data", ())]
                yield {
                    column["Name"]: _athena_value(cell, column["Type"])
                    for column, cell in zip(columns, cells, strict=False)
                }


class GlueSpec(AwsSpec):
    """A job of Glue."""

    job_name: Dynamic[Text]

    def outputs(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Return a run of the job as outputs."""
        return {
            "jobName": self.job_name,
            "jobRunId": run["Id"],
            "state": run["JobRunState"],
            "startedOn": plain(run.get("StartedOn")),
            "completedOn": plain(run.get("CompletedOn")),
            "lastModifiedOn": plain(run.get("LastModifiedOn")),
            "executionTime": run.get("ExecutionTime"),
            "timeout": run.get("Timeout"),
            "attempt": run.get("Attempt"),
            "errorMessage": run.get("ErrorMessage"),
        }

    def state(self, client: Any, run: str) -> dict[str, Any]:
        return client.get_job_run(JobName=self.job_name, RunId=run)["JobRun"]


class StartJobRun(GlueSpec):
    """Start a job of Glue, and wait for its end unless told otherwise."""

    arguments: Dynamic[dict[str, Text]] | None = None
    wait: Dynamic[bool] = True
    max_duration: Dynamic[Duration] | None = None
    interval: Dynamic[Duration] = timedelta(seconds=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        longest = self.max_duration
        minutes = {"Timeout": math.ceil(longest.total_seconds() / 60)} if longest else {}
        given = {"Arguments": self.arguments} if self.arguments else {}
        with aws_errors(f"run the job `{self.job_name}`"):
            client = self.client("glue")
            started = client.start_job_run(JobName=self.job_name, **given, **minutes)["JobRunId"]
            context.log.info(f"Glue runs `{self.job_name}` as `{started}`")
            found = self.state(client, started)
            if self.wait:
                found = _until_ended(
                    lambda: self.state(client, started),
                    self.interval,
                    context,
                    lambda: client.batch_stop_job_run(JobName=self.job_name, JobRunIds=[started]),
                )
        if found["JobRunState"] not in (*_GLUE_RUNS, "SUCCEEDED"):
            why = found.get("ErrorMessage")
            raise TaskFailed(
                f"the job `{self.job_name}` ended {found['JobRunState']}"
                + (f": {why}" if why else ""),
                outputs=self.outputs(found),
            )
        return self.outputs(found)


class GetJobRun(GlueSpec):
    """Look at a run of a job of Glue."""

    job_run_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"look at the job `{self.job_name}`"):
            return self.outputs(self.state(self.client("glue"), self.job_run_id))


class StopJobRun(GlueSpec):
    """Stop a run of a job of Glue, and wait until it has ended unless told otherwise."""

    job_run_id: Dynamic[Text]
    wait: Dynamic[bool] = True
    interval: Dynamic[Duration] = timedelta(seconds=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"stop the job `{self.job_name}`"):
            client = self.client("glue")
            answer = client.batch_stop_job_run(JobName=self.job_name, JobRunIds=[self.job_run_id])
            for refused in answer.get("Errors", ()):
                why = refused.get("ErrorDetail", {}).get("ErrorMessage", "no reason is given")
                raise TaskFailed(f"the job `{self.job_name}` cannot be stopped: {why}")
            found = self.state(client, self.job_run_id)
            if self.wait:
                found = _until_ended(
                    lambda: self.state(client, self.job_run_id), self.interval, context
                )
            return self.outputs(found)


def _until_ended(
    look: Callable[[], dict[str, Any]],
    every: timedelta,
    context: TaskContext,
    stop: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Look at a run until it has ended; `stop` it when the task is cancelled."""
    forget = context.cancel.on_cancel(stop)
    try:
        while True:
            found = look()
            if found["JobRunState"] not in _GLUE_RUNS:
                return found
            context.cancel.sleep(every.total_seconds())
    finally:
        forget()


def _athena_value(text: str | None, kind: str) -> Any:
    if text is None:
        return None
    if kind == "boolean":
        return text == "true"
    if kind in ("tinyint", "smallint", "int", "integer", "bigint"):
        return int(text)
    return float(text) if kind in ("double", "float", "real", "decimal") else text
