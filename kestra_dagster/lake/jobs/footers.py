"""What the footers of a table's Parquet files say: rows, types, nulls, newest. No data is read."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyspark.sql.types import StructType

_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"
_AT_ONCE = 8
"""A footer is one request to the bucket."""
_EPOCH = datetime.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Footer:
    """What is known of a file, or of all files of a table, without its data."""

    rows: int
    columns: tuple[tuple[str, str], ...]
    """Name and Spark type."""
    nulls: Mapping[str, int | None]
    """How many values of a column are null; None where a file does not say."""
    newest: Mapping[str, str | None]
    """ISO date, None where there is no row."""


@dataclasses.dataclass(frozen=True)
class Parquet:
    """Classes of the JVM."""

    input_file: Any
    reader: Any

    @classmethod
    def of(cls, jvm: Any) -> Parquet:
        hadoop = jvm.org.apache.parquet.hadoop
        return cls(hadoop.util.HadoopInputFile, hadoop.ParquetFileReader)


def read(
    parquet: Parquet, configuration: Any, paths: Sequence[Any], dates: Sequence[str] = ()
) -> Footer:
    """Return what all files together say; `dates` are the columns whose newest date is wanted.

    Should the types of the files differ, those of one that differs from the first are told.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        files = list(pool.map(lambda path: _file(parquet, configuration, path, dates), paths))
    types = [file.columns for file in files]
    names = [name for name, _ in types[0]] if types else []
    return Footer(
        sum(file.rows for file in files),
        next((other for other in types if other != types[0]), types[0]) if types else (),
        {name: _sum([file.nulls.get(name) for file in files]) for name in names},
        {
            name: max((file.newest[name] or "" for file in files), default="") or None
            for name in dates
        },
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _file(parquet: Parquet, configuration: Any, path: Any, dates: Sequence[str]) -> Footer:
    reader = parquet.reader.open(parquet.input_file.fromPath(path, configuration))
    try:
        footer = reader.getFooter()
    finally:
        reader.close()
    said = footer.getFileMetaData().getKeyValueMetaData().get(_SCHEMA)
    fields = StructType.fromJson(json.loads(said)).fields
    rows = 0
    nulls: dict[str, int | None] = {field.name: 0 for field in fields}
    newest: dict[str, str | None] = dict.fromkeys(dates)
    for block in footer.getBlocks():
        rows += block.getRowCount()
        for chunk in block.getColumns():
            name, statistics = chunk.getPath().toDotString(), chunk.getStatistics()
            before = nulls.get(name)
            if before is not None and statistics is not None and statistics.isNumNullsSet():
                nulls[name] = before + statistics.getNumNulls()
            else:
                nulls[name] = None
            if name in newest and statistics is not None and statistics.hasNonNullValue():
                day = _EPOCH + datetime.timedelta(days=statistics.genericGetMax())
                newest[name] = max(newest[name] or "", day.isoformat())
    columns = tuple((field.name, field.dataType.simpleString()) for field in fields)
    return Footer(rows, columns, nulls, newest)
