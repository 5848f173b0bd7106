"""BigQuery: tables and partitions made, changed, described and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import gcp_errors
from kestra_dagster.tasks.gcp_bigquery import (
    BigQuerySpec,
    CreateDisposition,
    WriteDisposition,
    given,
    labels,
    schema_fields,
    table_id,
)
from kestra_dagster.tasks.gcp_bigquery_datasets import Encryption, Part
from kestra_dagster.tasks.rows import plain


class TimePartitioning(Part):
    """How a table is divided by dates."""

    type: Literal["DAY", "HOUR", "MONTH", "YEAR"] = "DAY"
    field: Text | None = None
    expiration_ms: int | None = None
    expiration: Duration | None = None
    require_partition_filter: bool | None = None


class Range(Part):
    """From where to where, in which steps."""

    start: int
    end: int
    interval: int


class RangePartitioning(Part):
    """How a table is divided by numbers."""

    field: Text
    range: Range


class StandardTable(Part):
    """How a table of rows is laid out."""

    clustering: list[Text] | None = None
    time_partitioning: TimePartitioning | None = None
    range_partitioning: RangePartitioning | None = None


class View(Part):
    """What a view shows."""

    query: Text


class MaterializedView(View):
    """What a materialized view shows, and how fresh it is."""

    enable_refresh: bool | None = None
    refresh_interval: Duration | None = None


class TableDefinition(Part):
    """What kind of table, with which fields."""

    type: Literal["TABLE", "VIEW", "MATERIALIZED_VIEW"] = "TABLE"
    table_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    standard_table_definition: StandardTable = StandardTable()
    view_definition: View | None = None
    materialized_view_definition: MaterializedView | None = None


class _TableSpec(BigQuerySpec):
    dataset: Dynamic[Text]
    table: Dynamic[Text]

    def table_id(self, client: Any, partition: str = "") -> Any:
        """Return the table's name as the library has it."""
        suffix = f"${partition}" if partition else ""
        return table_id(f"{client.project}.{self.dataset}.{self.table}{suffix}", client)


class _TableChange(_TableSpec):
    table_definition: Dynamic[TableDefinition | None] = None
    friendly_name: Dynamic[Text] | None = None
    description: Dynamic[Text] | None = None
    labels: Dynamic[dict[str, Text]] | None = None
    require_partition_filter: Dynamic[bool | None] = None
    encryption_configuration: Dynamic[Encryption] | None = None
    expiration_duration: Dynamic[Duration] | None = None

    def changed(self, table: Any) -> tuple[Any, list[str]]:
        """Put into a table of the library what is set; return it and the names of what is."""
        from google.cloud import bigquery

        expires, key = self.expiration_duration, self.encryption_configuration
        fields = given(
            friendly_name=self.friendly_name,
            description=self.description,
            labels=self.labels,
            require_partition_filter=self.require_partition_filter,
            encryption_configuration=key and bigquery.EncryptionConfiguration(key.kms_key_name),
            expires=expires and datetime.now(timezone.utc) + expires,
            **(self._defined(self.table_definition) if self.table_definition else {}),
        )
        for name, value in fields.items():
            setattr(table, name, value)
        return table, list(fields)

    def _defined(self, given_as: TableDefinition) -> dict[str, Any]:
        from google.cloud import bigquery

        if given_as.type == "VIEW":
            if given_as.view_definition is None:
                raise TaskMisconfigured("`type: VIEW` needs `viewDefinition`")
            return {"view_query": given_as.view_definition.query}
        if given_as.type == "MATERIALIZED_VIEW":
            view = given_as.materialized_view_definition
            if view is None:
                raise TaskMisconfigured("`type: MATERIALIZED_VIEW` needs its definition")
            return {
                "mview_query": view.query,
                "mview_enable_refresh": view.enable_refresh,
                "mview_refresh_interval": view.refresh_interval,
            }
        layout = given_as.standard_table_definition
        by_time, by_range = layout.time_partitioning, layout.range_partitioning
        lasts = by_time and by_time.expiration
        return {
            "schema": schema_fields(given_as.table_schema),
            "clustering_fields": layout.clustering,
            "time_partitioning": by_time
            and bigquery.TimePartitioning(
                type_=by_time.type,
                field=by_time.field,
                expiration_ms=int(lasts.total_seconds() * 1000) if lasts else by_time.expiration_ms,
                require_partition_filter=by_time.require_partition_filter,
            ),
            "range_partitioning": by_range
            and bigquery.RangePartitioning(
                field=by_range.field,
                range_=bigquery.PartitionRange(
                    start=by_range.range.start,
                    end=by_range.range.end,
                    interval=by_range.range.interval,
                ),
            ),
        }


class CreateTable(_TableChange):
    """Make a table or a view."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"create the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            from google.cloud import bigquery

            asked, _ = self.changed(bigquery.Table(self.table_id(client)))
            return _table_outputs(client.create_table(asked))


class UpdateTable(_TableChange):
    """Change what is set of a table."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"change the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            changed, names = self.changed(client.get_table(self.table_id(client)))
            return _table_outputs(client.update_table(changed, names))


class DeleteTable(_TableSpec):
    """Delete a table or a view."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"delete the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            client.delete_table(self.table_id(client))
            return {"projectId": client.project, "datasetId": self.dataset, "table": self.table}


class TableMetadata(_TableSpec):
    """Describe a table."""

    if_not_exists: Dynamic[Literal["ERROR", "SKIP"]] = "ERROR"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from google.api_core.exceptions import NotFound

        with gcp_errors(f"describe the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            try:
                return _table_outputs(client.get_table(self.table_id(client)))
            except NotFound:
                if self.if_not_exists == "ERROR":
                    raise
                return {}


_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}


class _PartitionSpec(_TableSpec):
    partition_type: Dynamic[Literal["HOUR", "DAY", "MONTH", "YEAR", "RANGE"]]
    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]

    def partitions(self, client: Any) -> list[str]:
        """Return the partitions from `from` to `to`, both included."""
        return [
            each
            for each in client.list_partitions(self.table_id(client))
            if each not in ("__NULL__", "__UNPARTITIONED__") and self._within(each)
        ]

    def _within(self, partition: str) -> bool:
        if self.partition_type == "RANGE":
            return int(self.from_) <= int(partition) <= int(self.to)
        when = datetime.strptime(partition, _FORMATS[self.partition_type])
        return _moment(self.from_, "from") <= when <= _moment(self.to, "to")


class DeletePartitions(_PartitionSpec):
    """Delete the partitions of a range."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"delete partitions of the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            found = self.partitions(client)
            for each in found:
                context.cancel.check()
                client.delete_table(self.table_id(client, each))
        context.metric("size", len(found))
        return {
            "projectId": client.project,
            "datasetId": self.dataset,
            "table": self.table,
            "partitions": found,
        }


class CopyPartitions(_PartitionSpec):
    """Copy the partitions of a range to another table."""

    destination_table: Dynamic[Text]
    write_disposition: Dynamic[WriteDisposition | None] = None
    create_disposition: Dynamic[CreateDisposition | None] = None
    job_timeout: Dynamic[Duration] | None = None
    labels: Dynamic[dict[str, Text]] | None = None
    skip_empty: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"copy partitions of the table `{self.dataset}.{self.table}`"):
            client = self.bigquery()
            from google.cloud import bigquery

            found = self.partitions(client)
            context.metric("size", len(found))
            if not found and not self.skip_empty:
                raise TaskFailed(
                    "there is no partition to copy", hint="set `skipEmpty: true` if that is fine"
                )
            timeout = self.job_timeout
            settings = bigquery.CopyJobConfig(
                labels={**labels(context), **(self.labels or {})},
                **given(
                    write_disposition=self.write_disposition,
                    create_disposition=self.create_disposition,
                    job_timeout_ms=int(timeout.total_seconds() * 1000) if timeout else None,
                ),
            )
            sources = [self.table_id(client, each) for each in found]
            target = table_id(self.destination_table, client)
            job = None
            if found:
                job = self.finished(
                    lambda: client.copy_table(sources, target, job_config=settings), context
                )
        return {
            "projectId": client.project,
            "datasetId": self.dataset,
            "table": self.table,
            "partitions": found,
            "jobId": job.job_id if job else None,
        }


def _moment(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).replace(tzinfo=None)
    except ValueError:
        raise TaskMisconfigured(
            f"`{name}` is not a date with time: `{text}`", hint="write `2024-01-31T00:00:00`"
        ) from None


def _table_outputs(table: Any) -> dict[str, Any]:
    return plain(
        {
            "projectId": table.project,
            "datasetId": table.dataset_id,
            "table": table.table_id,
            "etag": table.etag,
            "generatedId": table.full_table_id,
            "selfLink": table.self_link,
            "friendlyName": table.friendly_name,
            "description": table.description,
            "creationTime": table.created,
            "expirationTime": table.expires,
            "lastModifiedTime": table.modified,
            "numBytes": table.num_bytes,
            "numRows": table.num_rows,
            "definition": {
                "type": table.table_type,
                "schema": {"fields": [field.to_api_repr() for field in table.schema]},
            },
            "labels": table.labels,
            "requirePartitionFilter": table.require_partition_filter,
        }
    )
