"""BigQuery: what its tasks have in common, and queries."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.gcp import GcpSpec, gcp_errors
from kestra_dagster.tasks.polling import Found, Poll

CreateDisposition = Literal["CREATE_IF_NEEDED", "CREATE_NEVER"]
WriteDisposition = Literal["WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA", "WRITE_APPEND", "WRITE_EMPTY"]
SchemaUpdate = Literal["ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"]
Partitioning = Literal["DAY", "HOUR", "MONTH", "YEAR"]
_TRIES = 10
_FIRST_PAUSE = 5.0
_POINT = re.compile(r"POINT\s*\(([-0-9.]+) ([-0-9.]+)\)\Z")


class BigQuerySpec(GcpSpec):
    """A task that speaks to BigQuery; jobs that BigQuery itself calls worth a retry get one."""

    ignored: ClassVar[Mapping[str, str]] = {
        "retryAuto": "jobs are tried again up to ten times, with pauses that double"
    }

    location: Dynamic[Text] | None = None
    retry_reasons: Dynamic[list[Text]] = Field(
        default_factory=lambda: [
            *("rateLimitExceeded", "jobBackendError", "backendError"),
            *("internalError", "jobInternalError"),
        ]
    )
    retry_messages: Dynamic[list[Text]] = Field(
        default_factory=lambda: [
            "due to concurrent update",
            "Retrying the job may solve the problem",
            "Retrying may solve the problem",
        ]
    )

    def bigquery(self) -> Any:
        """Return the client; use within `gcp_errors`."""
        return self.client(
            "google.cloud.bigquery:Client", "BIGQUERY_EMULATOR_HOST", location=self.location
        )

    def finished(self, start: Callable[[], Any], context: TaskContext) -> Any:
        """Start a job, wait for it, and start it again where that may help; return it.

        A cancelled task cancels its job.
        """
        from google.api_core.exceptions import GoogleAPICallError

        pause = _FIRST_PAUSE
        for attempt in range(1, _TRIES + 1):
            context.cancel.check()
            try:
                job = start()
                with _cancelled_with(job, context):
                    job.result()
                return job
            except GoogleAPICallError as error:
                context.cancel.check()
                if attempt == _TRIES or not self._worth_a_retry(error):
                    raise
                context.log.warn(f"BigQuery: {error.message}; trying again in {pause:.0f} s")
            context.cancel.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _worth_a_retry(self, error: Any) -> bool:
        told = [each for each in error.errors if isinstance(each, Mapping)]
        told = told or [{"message": error.message}]
        return any(
            each.get("reason") in self.retry_reasons
            or any(
                part.lower() in str(each.get("message", "")).lower() for part in self.retry_messages
            )
            for each in told
        )


class JobSpec(BigQuerySpec):
    """The properties of jobs that write a table."""

    write_disposition: Dynamic[WriteDisposition | None] = None
    create_disposition: Dynamic[CreateDisposition | None] = None
    job_timeout: Dynamic[Duration] | None = None
    labels: Dynamic[dict[str, Text]] | None = None
    dry_run: Dynamic[bool] = False

    def job_fields(self, context: TaskContext) -> dict[str, Any]:
        """Return what every job configuration has."""
        timeout = self.job_timeout
        return {
            "labels": {**labels(context), **(self.labels or {})},
            "job_timeout_ms": int(timeout.total_seconds() * 1000) if timeout else None,
        }


class Query(JobSpec):
    """Run SQL; rows become outputs or a stored file, or go to a table."""

    deprecated: ClassVar[Mapping[str, str]] = {
        "fetch": "`fetchType: FETCH`",
        "fetchOne": "`fetchType: FETCH_ONE`",
        "store": "`fetchType: STORE`",
        "useLegacySql": "`legacySql`",
    }

    sql: Dynamic[Text]
    legacy_sql: Dynamic[bool] = False
    use_legacy_sql: Dynamic[bool] = False
    fetch_type: Dynamic[FetchType] = "NONE"
    fetch: bool = False
    fetch_one: bool = False
    store: bool = False
    destination_table: Dynamic[Text] | None = None
    clustering_fields: Dynamic[list[Text]] | None = None
    schema_update_options: Dynamic[list[SchemaUpdate]] | None = None
    time_partitioning_field: Dynamic[Text] | None = None
    time_partitioning_type: Dynamic[Partitioning] = "DAY"
    range_partitioning_field: Dynamic[Text] | None = None
    range_partitioning_start: Dynamic[int | None] = None
    range_partitioning_end: Dynamic[int | None] = None
    range_partitioning_interval: Dynamic[int | None] = None
    default_dataset: Dynamic[Text] | None = None
    priority: Dynamic[Literal["INTERACTIVE", "BATCH"]] = "INTERACTIVE"
    allow_large_results: Dynamic[bool | None] = None
    use_query_cache: Dynamic[bool | None] = None
    flatten_results: Dynamic[bool | None] = None
    maximum_billing_tier: Dynamic[int | None] = None
    maximum_bytes_billed: Dynamic[int | None] = None
    max_results: Dynamic[int | None] = None
    query_parameters: Dynamic[dict[str, Any]] | None = None

    @property
    def chosen_fetch(self) -> FetchType:
        """What becomes of the rows, by the older properties too."""
        if self.fetch:
            return "FETCH"
        if self.fetch_one:
            return "FETCH_ONE"
        return "STORE" if self.store else self.fetch_type

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors("run a query of BigQuery"):
            client = self.bigquery()
            settings = self._settings(client, context)
            if self.dry_run:
                job = client.query(self.sql, job_config=settings)
                context.metric("total.bytes.processed", job.total_bytes_processed or 0)
                return {"jobId": job.job_id}
            job = self.finished(lambda: client.query(self.sql, job_config=settings), context)
            outputs: dict[str, Any] = {"jobId": job.job_id}
            how = self.chosen_fetch
            if how != "NONE":
                found = job.result(page_size=self.max_results)
                context.metric("total.rows", found.total_rows or 0)
                outputs |= fetched(_rows(found, context), how, context)
                context.metric("fetch.rows", outputs["size"])
        table = job.destination
        if table is not None:
            context.log.info(f"Query loaded in: {table.dataset_id}.{table.table_id}")
            outputs["destinationTable"] = {
                "project": table.project,
                "dataset": table.dataset_id,
                "table": table.table_id,
            }
        measured(job, context, _QUERY_METRICS)
        return outputs

    def _settings(self, client: Any, context: TaskContext) -> Any:
        from google.cloud import bigquery

        return bigquery.QueryJobConfig(
            use_legacy_sql=self.legacy_sql or self.use_legacy_sql,
            priority=self.priority,
            **given(
                destination=self.destination_table and table_id(self.destination_table, client),
                clustering_fields=self.clustering_fields,
                schema_update_options=self.schema_update_options,
                time_partitioning=by_time(
                    self.time_partitioning_field, self.time_partitioning_type
                ),
                range_partitioning=self._by_range(),
                default_dataset=self.default_dataset
                and bigquery.DatasetReference.from_string(
                    self.default_dataset, default_project=client.project
                ),
                allow_large_results=self.allow_large_results,
                use_query_cache=self.use_query_cache,
                flatten_results=self.flatten_results,
                maximum_billing_tier=self.maximum_billing_tier,
                maximum_bytes_billed=self.maximum_bytes_billed,
                write_disposition=self.write_disposition,
                create_disposition=self.create_disposition,
                query_parameters=_parameters(self.query_parameters),
                dry_run=self.dry_run or None,
                **self.job_fields(context),
            ),
        )

    def _by_range(self) -> Any:
        from google.cloud import bigquery

        if not self.range_partitioning_field:
            return None
        limits = (self.range_partitioning_start, self.range_partitioning_end)
        if None in limits or self.range_partitioning_interval is None:
            raise TaskMisconfigured(
                "`rangePartitioningField` needs `rangePartitioningStart`, "
                "`rangePartitioningEnd` and `rangePartitioningInterval`"
            )
        return bigquery.RangePartitioning(
            field=self.range_partitioning_field,
            range_=bigquery.PartitionRange(
                start=limits[0], end=limits[1], interval=self.range_partitioning_interval
            ),
        )


class BigQueryPoll(Query, Poll):
    """Start the flow when a query finds rows."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        looking = self
        if self.chosen_fetch == "NONE":
            looking = self.model_copy(update={"fetch_type": "FETCH"})
        outputs = looking.run(context)
        return Found(outputs if outputs.get("size") else None, memory)


def table_id(name: str, client: Any) -> Any:
    """Read `project.dataset.table` or `dataset.table`, either with `$partition`."""
    from google.cloud import bigquery

    parts = name.replace("`", "").split(".")
    if len(parts) not in (2, 3) or not all(parts):
        raise TaskMisconfigured(
            f"`{name}` is not the name of a table", hint="write `project.dataset.table`"
        )
    project = parts[0] if len(parts) == 3 else client.project
    return bigquery.TableReference(bigquery.DatasetReference(project, parts[-2]), parts[-1])


def schema_fields(schema: Mapping[str, Any] | None) -> list[Any] | None:
    """Return the fields of `schema: {fields: [{name, type, mode, description, fields}]}`."""
    if schema is None:
        return None
    from google.cloud import bigquery

    if not isinstance(schema.get("fields"), list):
        raise TaskMisconfigured("`schema` needs a list of `fields`")
    try:
        return [bigquery.SchemaField.from_api_repr(each) for each in schema["fields"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise TaskMisconfigured(
            f"`schema`: a field is not right: {error}", hint="each needs `name` and `type`"
        ) from error


def labels(context: TaskContext) -> dict[str, str]:
    """Return the labels that tell jobs of BigQuery whose they are."""
    found = {
        "kestra_namespace": _read(context, "flow.namespace"),
        "kestra_flow_id": _read(context, "flow.id"),
        "kestra_execution_id": _read(context, "execution.id"),
        "kestra_task_id": _read(context, "task.id"),
    }
    return {
        name: re.sub(r"[^a-z0-9_-]", "_", value.lower())[:63]
        for name, value in found.items()
        if value
    }


def _read(context: TaskContext, name: str) -> str:
    return context.render("{{ " + name + " ?? '' }}")


@contextmanager
def _cancelled_with(job: Any, context: TaskContext) -> Iterator[None]:
    def stop() -> None:
        # The service may be what is not there: the task ends all the same.
        with suppress(Exception):
            job.cancel(retry=None, timeout=5)

    forget = context.cancel.on_cancel(stop)
    try:
        yield
    finally:
        forget()


def by_time(field: str | None, kind: str) -> Any:
    """Return how a table is divided by a field of dates, if it is."""
    from google.cloud import bigquery

    if not field:
        return None
    return bigquery.TimePartitioning(type_=kind, field=field)


_TYPES: Mapping[type, str] = {
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    Decimal: "NUMERIC",
    str: "STRING",
    datetime: "TIMESTAMP",
    date: "DATE",
    time_of_day: "TIME",
}


def _parameters(given: Mapping[str, Any] | None) -> list[Any] | None:
    from google.cloud import bigquery

    if given is None:
        return None
    found: list[Any] = []
    for name, value in given.items():
        if isinstance(value, list):
            kind = _TYPES.get(type(value[0]), "STRING") if value else "STRING"
            found.append(bigquery.ArrayQueryParameter(name, kind, value))
        else:
            found.append(
                bigquery.ScalarQueryParameter(name, _TYPES.get(type(value), "STRING"), value)
            )
    return found


def given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that have a value."""
    return {name: value for name, value in arguments.items() if value is not None}


def _rows(found: Any, context: TaskContext) -> Iterator[dict[str, Any]]:
    fields = found.schema
    for number, row in enumerate(found):
        if number % 1000 == 0:
            context.cancel.check()
        yield {field.name: _cell(field, row[field.name]) for field in fields}


def _cell(field: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_cell(field, each) for each in value]
    if isinstance(value, dict):
        return {sub.name: _cell(sub, value[sub.name]) for sub in field.fields}
    if isinstance(value, str) and field.field_type == "GEOGRAPHY":
        point = _POINT.match(value)
        return [float(point[1]), float(point[2])] if point else value
    if isinstance(value, str) and field.field_type == "BYTES":
        return b64decode(value)
    return value


_QUERY_METRICS = {
    "estimated.bytes.processed": "estimated_bytes_processed",
    "num.dml.affected.rows": "num_dml_affected_rows",
    "total.bytes.billed": "total_bytes_billed",
    "total.bytes.processed": "total_bytes_processed",
    "total.slot.ms": "slot_millis",
    "cache.hit": "cache_hit",
}


def measured(job: Any, context: TaskContext, names: Mapping[str, str]) -> None:
    """Record attributes of a job as metrics, by name, and how long it took."""
    tags = {"project_id": job.project or "", "location": job.location or ""}
    for name, attribute in names.items():
        value = getattr(job, attribute, None)
        if value is not None:
            context.metric(name, int(value), tags=tags)
    if job.started and job.ended:
        seconds = (job.ended - job.started).total_seconds()
        context.metric("duration", seconds, type="timer", tags=tags)
