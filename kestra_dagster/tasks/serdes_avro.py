"""Avro and Parquet files to rows and back, over fastavro and pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.avro_records import (
    FALSE,
    NULL,
    TRUE,
    Fitting,
    Unfit,
    guessed_schema,
    parse_schema,
)
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.rows import read_rows
from kestra_dagster.tasks.serdes import EXTRA, Conversion, OnBadLines, bad_line, store_rows

_BATCH = 10_000


class RecordWriter(Conversion):
    """How rows become records of a schema."""

    ignored: ClassVar[Mapping[str, str]] = {
        "dateFormat": "dates are read in ISO form",
        "timeFormat": "times are read in ISO form",
        "datetimeFormat": "dates with time are read in ISO form",
        "timeZoneId": "a date with time but without zone is taken to be in UTC",
    }

    schema_: Dynamic[Text] | None = Field(default=None, alias="schema")
    number_of_rows_to_scan: Dynamic[int] = Field(default=100, ge=1)
    true_values: Dynamic[list[Text]] = Field(default_factory=lambda: [*TRUE])
    false_values: Dynamic[list[Text]] = Field(default_factory=lambda: [*FALSE])
    null_values: Dynamic[list[Text]] = Field(default_factory=lambda: [*NULL])
    decimal_separator: Dynamic[Text] = "."
    strict_schema: Dynamic[bool] = False
    infer_all_fields: Dynamic[bool] = False
    on_bad_lines: Dynamic[OnBadLines] = "ERROR"

    def fitted(self, context: TaskContext) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
        """Return the schema, given or guessed from the first rows, and the records."""
        rows: Iterator[Any] = read_rows(self.from_, context)
        if self.schema_:
            schema = parse_schema(self.schema_)
        else:
            first = list(islice(rows, self.number_of_rows_to_scan))
            schema = guessed_schema(first)
            rows = chain(first, rows)
        return schema, self._records(schema, rows, context)

    def _records(
        self, schema: Mapping[str, Any], rows: Iterator[Any], context: TaskContext
    ) -> Iterator[dict[str, Any]]:
        fitting = Fitting(
            schema,
            tuple(value.lower() for value in self.true_values),
            tuple(value.lower() for value in self.false_values),
            tuple(self.null_values),
            self.decimal_separator,
            self.strict_schema,
        )
        for number, row in enumerate(rows, start=1):
            try:
                yield fitting.record(row)
            except Unfit as error:
                message = f"row {number} of `{self.from_}` does not fit the schema: {error}"
                bad_line(self.on_bad_lines, message, context)


class AvroToIon(Conversion):
    """Convert an Avro file to rows."""

    on_bad_lines: Dynamic[OnBadLines] = "ERROR"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        fastavro = needed("fastavro", EXTRA)
        with context.storage.open(self.from_) as file:
            try:
                records = fastavro.reader(file)
            except ValueError as error:
                raise TaskFailed(f"`{self.from_}` is no Avro file: {error}") from error
            return store_rows(records, context)


class IonToAvro(RecordWriter):
    """Convert rows to an Avro file; without `schema` it is guessed from the first rows."""

    compression_codec: Dynamic[Literal["NULL", "DEFLATE", "BZIP2", "SNAPPY", "ZSTANDARD"]] = "NULL"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        fastavro = needed("fastavro", EXTRA)
        schema, records = self.fitted(context)
        count = 0

        def counted() -> Iterator[dict[str, Any]]:
            nonlocal count
            for record in records:
                count += 1
                yield record

        with scratch_file(context) as path:
            with path.open("wb") as file:
                codec = self.compression_codec.lower()
                fastavro.writer(file, fastavro.parse_schema(schema), counted(), codec=codec)
            context.metric("records", count)
            return {"uri": context.storage.put(path, "rows.avro"), "size": count}


class InferAvroSchemaFromIon(Conversion):
    """Write the Avro schema that the first rows fit, as IonToAvro guesses it."""

    number_of_rows_to_scan: Dynamic[int] = Field(default=100, ge=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        first = list(islice(read_rows(self.from_, context), self.number_of_rows_to_scan))
        if not first:
            raise TaskFailed(f"`{self.from_}` has no rows, so there is no schema to be found")
        schema = json.dumps(guessed_schema(first)).encode()
        return {"uri": context.storage.put(schema, "schema.avsc")}


class ParquetToIon(Conversion):
    """Convert a Parquet file to rows."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        parquet = needed("pyarrow.parquet", EXTRA)

        def rows(file: Any) -> Iterator[Any]:
            for batch in file.iter_batches(batch_size=_BATCH):
                context.cancel.check()
                yield from batch.to_pylist()

        with context.storage.local(self.from_) as path:
            try:
                opened = parquet.ParquetFile(path)
            except Exception as error:  # pyarrow has many classes for what it cannot read
                raise TaskFailed(f"`{self.from_}` is no Parquet file: {error}") from error
            with opened as file:
                return store_rows(rows(file), context)


class IonToParquet(RecordWriter):
    """Convert rows to a Parquet file; without `schema` (Avro) it is guessed from the first rows."""

    compression_codec: Dynamic[Literal["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"]] = "GZIP"
    parquet_version: Dynamic[Literal["V1", "V2"]] = "V2"
    row_group_size: Dynamic[int] | None = None
    page_size: Dynamic[int] | None = None
    dictionary_page_size: Dynamic[int] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        arrow = needed("pyarrow", EXTRA)
        parquet = needed("pyarrow.parquet", EXTRA)
        schema, records = self.fitted(context)
        columns = arrow.schema([_arrow_field(arrow, field) for field in schema["fields"]])
        codec = self.compression_codec.lower().replace("uncompressed", "none")
        options = {
            "version": "1.0" if self.parquet_version == "V1" else "2.6",
            "compression": codec,
            "data_page_size": self.page_size,
            "dictionary_pagesize_limit": self.dictionary_page_size,
        }
        count = 0
        with scratch_file(context) as path:
            with parquet.ParquetWriter(
                path, columns, **{name: value for name, value in options.items() if value}
            ) as writer:
                while batch := list(islice(records, _BATCH)):
                    context.cancel.check()
                    writer.write_table(arrow.Table.from_pylist(batch, columns))
                    count += len(batch)
            context.metric("records", count)
            return {"uri": context.storage.put(path, "rows.parquet"), "size": count}


def _arrow_field(arrow: Any, field: Mapping[str, Any]) -> Any:
    kind = field["type"]
    optional = isinstance(kind, list) and "null" in kind
    return arrow.field(field["name"], _arrow_type(arrow, kind), nullable=optional or kind == "null")


def _arrow_type(arrow: Any, kind: Any) -> Any:
    """Return the type of Arrow for one of Avro; a union of several is text."""
    if isinstance(kind, list):
        others = [one for one in kind if one != "null"]
        return _arrow_type(arrow, others[0]) if len(others) == 1 else arrow.string()
    if isinstance(kind, Mapping):
        logical = kind.get("logicalType", "")
        if logical == "decimal":
            return arrow.decimal128(int(kind["precision"]), int(kind.get("scale", 0)))
        if logical == "date":
            return arrow.date32()
        if logical.startswith("time-"):
            return arrow.time32("ms") if logical.endswith("millis") else arrow.time64("us")
        if logical.startswith(("timestamp-", "local-timestamp-")):
            unit = {"millis": "ms", "micros": "us", "nanos": "ns"}[logical.rpartition("-")[2]]
            return arrow.timestamp(unit, tz=None if logical.startswith("local") else "UTC")
        inner = kind["type"]
        if inner == "record":
            return arrow.struct([_arrow_field(arrow, field) for field in kind["fields"]])
        if inner == "array":
            return arrow.list_(_arrow_type(arrow, kind["items"]))
        if inner == "map":
            return arrow.map_(arrow.string(), _arrow_type(arrow, kind["values"]))
        return arrow.string() if inner == "enum" else _arrow_type(arrow, inner)
    names = {
        "null": arrow.null,
        "string": arrow.string,
        "boolean": arrow.bool_,
        "int": arrow.int32,
        "long": arrow.int64,
        "float": arrow.float32,
        "double": arrow.float64,
        "bytes": arrow.binary,
        "fixed": arrow.binary,
    }
    return names.get(kind, arrow.string)()
