"""Records that came more than once: found by reading keys alone, of all tables in one query.

Most keys come once, so whole rows are never sorted or sent around for them: what is looked up for
each row is only which record of a repeated key is the last.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kestra_dagster.lake.jobs.catalog import RAW, Table
from kestra_dagster.lake.jobs.clean import conformed

_FEW = 200_000_000
"""Rows of a day up to which the hashes of its repeated keys fit into the memory of an executor."""


def repeated_hashes(frames: Mapping[str, DataFrame], keys: Mapping[str, Table]) -> DataFrame:
    """Return the `_hash` of each key that several rows have, of all tables together.

    Two keys may have the same hash: more are found than are repeated, none is missed.
    """
    hashes = [frame.selectExpr(f"{_hash(keys[name])} as _hash") for name, frame in frames.items()]
    return _union(hashes).groupBy("_hash").count().where("count > 1").select("_hash")


def count_repeated(frames: Mapping[str, DataFrame], keys: Mapping[str, Table]) -> dict[str, int]:
    """Return for each table how many rows come on top of one for each key."""
    if repeated_hashes(frames, keys).isEmpty():
        return dict.fromkeys(frames, 0)
    return {name: _more_than_keys(frame, keys[name]) for name, frame in frames.items()}


def _more_than_keys(frame: DataFrame, table: Table) -> int:
    keys = frame.select(*table.key).where(" and ".join(f"{key} is not null" for key in table.key))
    return keys.count() - keys.distinct().count()


def last_records(raw: Mapping[str, DataFrame], rows: int) -> DataFrame:
    """Return where the last valid record of each repeated key stands.

    Columns: `source`, `k1`, `k2`, `last` (received_at, _file, _row), `records` (number of valid).
    """
    repeated = repeated_hashes(raw, RAW)
    if rows <= _FEW:
        repeated = F.broadcast(repeated)
    candidates = []
    for name, frame in raw.items():
        table = RAW[name]
        some = conformed(
            frame.withColumn("_hash", F.expr(_hash(table))).join(repeated, "_hash", "left_semi"),
            name,
        )
        # As a condition of the aggregate it is not tried on rows that are no candidates.
        position = "if(reason is null, struct(received_at, _file, _row), null) as position"
        candidates.append(some.selectExpr(f"'{name}' as source", *_generic(table), position))
    grouped = _union(candidates).groupBy("source", "k1", "k2")
    found = grouped.agg(F.max("position").alias("last"), F.count("position").alias("records"))
    return found.where("records > 1")


def count_lost(records: DataFrame) -> dict[str, int]:
    """Return how many valid records of each table are not the last of their key."""
    counted = records.groupBy("source").agg(F.expr("sum(records - 1) as lost"))
    return {row["source"]: row["lost"] for row in counted.collect()}


def with_last(rows: DataFrame, records: DataFrame, table: str) -> DataFrame:
    """Add `lost`, whether another valid record of the row's key is the last; null if it is not."""
    keys = RAW[table].key
    named = ["k1 as _k1", "k2 as _k2"][: len(keys)]
    known = records.where(f"source = '{table}'").selectExpr(*named, "last as _last")
    same = " and ".join(f"{key} = _k{number}" for number, key in enumerate(keys, start=1))
    joined = rows.join(known, F.expr(same), "left")
    lost = F.expr("_last._file <> _file or _last._row <> _row")
    return joined.withColumn("lost", lost).drop("_k1", "_k2", "_last")


def _generic(table: Table) -> tuple[str, str]:
    """Return SQL for the key as two numbers, which all tables have."""
    first, second = (*table.key, "0")[:2]
    return f"cast({first} as bigint) as k1", f"cast({second} as bigint) as k2"


def _hash(table: Table) -> str:
    """Return SQL for a number in place of the key; those of different tables do not meet."""
    return f"xxhash64('{table.name}', {', '.join(table.key)})"


def _union(frames: list[DataFrame]) -> DataFrame:
    return functools.reduce(DataFrame.unionByName, frames)
