"""BigQuery: jobs that load files into tables, write tables to files, and copy tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import gcp_errors
from kestra_dagster.tasks.gcp_bigquery import (
    BigQuerySpec,
    CreateDisposition,
    JobSpec,
    Partitioning,
    SchemaUpdate,
    WriteDisposition,
    by_time,
    given,
    labels,
    measured,
    schema_fields,
    table_id,
)

_LOAD_METRICS = {
    "output.rows": "output_rows",
    "output.bytes": "output_bytes",
    "input.bytes": "input_file_bytes",
    "input.files": "input_files",
}


class _Options(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class CsvOptions(_Options):
    """How a CSV file is written."""

    allow_jagged_rows: bool | None = None
    allow_quoted_new_lines: bool | None = None
    encoding: Text | None = None
    field_delimiter: Text | None = None
    quote: Text | None = None
    skip_leading_rows: int | None = None


class AvroOptions(_Options):
    """How an Avro file is read."""

    use_avro_logical_types: bool | None = None


class _LoadSpec(BigQuerySpec):
    destination_table: Dynamic[Text]
    clustering_fields: Dynamic[list[Text]] | None = None
    schema_update_options: Dynamic[list[SchemaUpdate]] | None = None
    time_partitioning_field: Dynamic[Text] | None = None
    time_partitioning_type: Dynamic[Partitioning] = "DAY"
    write_disposition: Dynamic[WriteDisposition | None] = None
    create_disposition: Dynamic[CreateDisposition | None] = None
    autodetect: Dynamic[bool | None] = None
    ignore_unknown_values: Dynamic[bool | None] = None
    max_bad_records: Dynamic[int | None] = None
    # `schema` is a method of pydantic's models.
    table_schema: Dynamic[dict[str, Any]] | None = Field(default=None, alias="schema")
    format: Dynamic[Literal["CSV", "JSON", "AVRO", "PARQUET", "ORC"]]
    csv_options: Dynamic[CsvOptions] = CsvOptions()
    avro_options: Dynamic[AvroOptions] = AvroOptions()

    def settings(self, context: TaskContext) -> Any:
        """Return the configuration of the job."""
        from google.cloud import bigquery

        csv = self.csv_options if self.format == "CSV" else CsvOptions()
        return bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON" if self.format == "JSON" else self.format,
            labels=labels(context),
            **given(
                clustering_fields=self.clustering_fields,
                schema_update_options=self.schema_update_options,
                time_partitioning=by_time(
                    self.time_partitioning_field, self.time_partitioning_type
                ),
                write_disposition=self.write_disposition,
                create_disposition=self.create_disposition,
                autodetect=self.autodetect,
                ignore_unknown_values=self.ignore_unknown_values,
                max_bad_records=self.max_bad_records,
                schema=schema_fields(self.table_schema),
                allow_jagged_rows=csv.allow_jagged_rows,
                allow_quoted_newlines=csv.allow_quoted_new_lines,
                encoding=csv.encoding,
                field_delimiter=csv.field_delimiter,
                quote_character=csv.quote,
                skip_leading_rows=csv.skip_leading_rows,
                use_avro_logical_types=self.avro_options.use_avro_logical_types,
            ),
        )

    def loaded(self, job: Any, context: TaskContext) -> dict[str, Any]:
        """Return the outputs of a job that has ended."""
        table = job.destination
        measured(job, context, _LOAD_METRICS)
        return {
            "jobId": job.job_id,
            "destinationTable": f"{table.project}.{table.dataset_id}.{table.table_id}",
            "rows": job.output_rows,
        }


class Load(_LoadSpec):
    """Load a stored file into a table."""

    from_: Dynamic[Text] = Field(alias="from")
    failed_on_empty: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if context.storage.size(self.from_) == 0:
            if self.failed_on_empty:
                raise TaskFailed(
                    f"`{self.from_}` is empty", hint="set `failedOnEmpty: false` if that is fine"
                )
            return {"rows": 0}
        with gcp_errors(f"load the table `{self.destination_table}`"):
            client = self.bigquery()
            table = table_id(self.destination_table, client)

            def start() -> Any:
                with context.storage.open(self.from_) as file:
                    return client.load_table_from_file(
                        file, table, job_config=self.settings(context)
                    )

            return self.loaded(self.finished(start, context), context)


class LoadFromGcs(_LoadSpec):
    """Load objects of Google Cloud Storage into a table."""

    from_: Dynamic[list[Text]] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"load the table `{self.destination_table}`"):
            client = self.bigquery()
            table = table_id(self.destination_table, client)
            job = self.finished(
                lambda: client.load_table_from_uri(
                    self.from_, table, job_config=self.settings(context)
                ),
                context,
            )
            return self.loaded(job, context)


class ExtractToGcs(BigQuerySpec):
    """Write a table to objects of Google Cloud Storage."""

    source_table: Dynamic[Text]
    destination_uris: Dynamic[list[Text]]
    compression: Dynamic[Text] | None = None
    field_delimiter: Dynamic[Text] | None = None
    format: Dynamic[Text] | None = None
    use_avro_logical_types: Dynamic[bool | None] = None
    job_timeout_ms: Dynamic[int | None] = None
    labels: Dynamic[dict[str, Text]] | None = None
    print_header: Dynamic[bool | None] = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from_format = {"JSON": "NEWLINE_DELIMITED_JSON"}.get(self.format or "", self.format)
        with gcp_errors(f"extract the table `{self.source_table}`"):
            client = self.bigquery()
            from google.cloud import bigquery

            settings = bigquery.ExtractJobConfig(
                labels={**labels(context), **(self.labels or {})},
                **given(
                    compression=self.compression,
                    field_delimiter=self.field_delimiter,
                    destination_format=from_format,
                    use_avro_logical_types=self.use_avro_logical_types,
                    job_timeout_ms=self.job_timeout_ms,
                    print_header=self.print_header,
                ),
            )
            table = table_id(self.source_table, client)
            job = self.finished(
                lambda: client.extract_table(table, self.destination_uris, job_config=settings),
                context,
            )
        counts = list(job.destination_uri_file_counts or ())
        context.metric("output.file_counts", sum(counts))
        measured(job, context, {})
        return {
            "jobId": job.job_id,
            "sourceTable": table.table_id,
            "destinationUris": self.destination_uris,
            "fileCounts": counts,
        }


class Copy(JobSpec):
    """Copy tables or partitions, or take and restore snapshots."""

    source_tables: Dynamic[list[Text]]
    destination_table: Dynamic[Text]
    operation_type: Dynamic[Literal["COPY", "SNAPSHOT", "RESTORE", "CLONE"] | None] = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.dry_run:
            raise TaskMisconfigured("BigQuery has no dry run of a copy")
        with gcp_errors(f"copy to the table `{self.destination_table}`"):
            client = self.bigquery()
            from google.cloud import bigquery

            settings = bigquery.CopyJobConfig(
                **given(
                    write_disposition=self.write_disposition,
                    create_disposition=self.create_disposition,
                    operation_type=self.operation_type,
                    **self.job_fields(context),
                )
            )
            sources = [table_id(each, client) for each in self.source_tables]
            target = table_id(self.destination_table, client)
            job = self.finished(
                lambda: client.copy_table(sources, target, job_config=settings), context
            )
        measured(job, context, {})
        return {"jobId": job.job_id}
