"""Records that came more than once: found by reading keys alone, of all tables in one query.

Most keys come once, so whole rows are never sorted or sent around for them: what is looked up for
each row is only which record of a repeated key is the last.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from kestra_dagster.lake.jobs.catalog import PROCESSED, RAW, Table
from kestra_dagster.lake.jobs.clean import conformed

_FEW = 200_000_000
"""Rows of a day up to which the places of its repeated keys fit into the memory of an executor."""

_TABLES = sorted({*RAW, *PROCESSED})


def repeated_keys(frames: Mapping[str, DataFrame], keys: Mapping[str, Table]) -> DataFrame:
    """Return which keys several rows have, of all tables together: `block` and `again`.

    Keys are bits: numbers that are close to each other share a row here, and the whole stays small.
    Of keys with two parts some share a bit: more are found than are repeated, none is missed.
    """
    bits = [frame.selectExpr(*_place(keys[name], "block", "bit")) for name, frame in frames.items()]
    blocks = (
        _union(bits)
        .where("block is not null")
        .groupBy("block")
        .agg(
            F.expr("count(*) as rows"),
            F.expr("bit_or(bit) as seen"),
            F.expr("bit_xor(bit) as odd"),
        )
    )
    # What is seen and not odd came twice. Where something came three times the numbers do not add
    # up, and the whole block is told.
    return blocks.where("rows > bit_count(seen)").selectExpr(
        "block",
        "if(rows = bit_count(seen) + bit_count(seen & ~odd), seen & ~odd, seen) as again",
    )


def count_repeated(frames: Mapping[str, DataFrame], keys: Mapping[str, Table]) -> dict[str, int]:
    """Return for each table how many rows come on top of one for each key."""
    if repeated_keys(frames, keys).isEmpty():
        return dict.fromkeys(frames, 0)
    return {name: _more_than_keys(frame, keys[name]) for name, frame in frames.items()}


def _more_than_keys(frame: DataFrame, table: Table) -> int:
    keys = frame.select(*table.key).where(" and ".join(f"{key} is not null" for key in table.key))
    return keys.count() - keys.distinct().count()


def last_records(raw: Mapping[str, DataFrame], rows: int) -> DataFrame:
    """Return where the last valid record of each repeated key stands.

    Columns: `source`, `k1`, `k2`, `last` (received_at, _file, _row), `records` (number of valid).
    """
    repeated = repeated_keys(raw, RAW)
    if rows <= _FEW:
        repeated = F.broadcast(repeated)
    candidates = []
    for name, frame in raw.items():
        table = RAW[name]
        placed = frame.selectExpr("*", *_place(table, "_block", "_bit"))
        same = F.expr("_block = block and (_bit & again) <> 0")
        some = conformed(placed.join(repeated, same, "left_semi"), name)
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


def last_of(records: DataFrame, table: str) -> DataFrame:
    """Return the `last_records` of one table."""
    named = ["k1 as _k1", "k2 as _k2"][: len(RAW[table].key)]
    return records.where(f"source = '{table}'").selectExpr(*named, "last as _last")


def chosen(rows: DataFrame, last: DataFrame, table: str, condition: str) -> DataFrame:
    """Return rows that meet a condition (SQL), which may ask whether the row is `{lost}`.

    Lost is a row of which another valid record of its key is the last.
    """
    same = [f"{key} = _k{number}" for number, key in enumerate(RAW[table].key, start=1)]
    lost = "(_last is not null and (_last._file <> _file or _last._row <> _row))"
    joined = rows.join(last, F.expr(" and ".join(same)), "left")
    return joined.where(condition.format(lost=lost))


def _generic(table: Table) -> tuple[str, str]:
    """Return SQL for the key as two numbers, which all tables have."""
    first, second = (*table.key, "0")[:2]
    return f"cast({first} as bigint) as k1", f"cast({second} as bigint) as k2"


def _place(table: Table, block: str, bit: str) -> tuple[str, str]:
    """Return SQL for the block of a key, which no two tables share, and for its bit there."""
    parts = [f"cast({part} as bigint)" for part in table.key]
    key = parts[0] if len(parts) == 1 else f"(shiftleft({parts[0]}, 3) ^ {parts[1]})"
    number = f"shiftleft(shiftright({key}, 6), 4) | {_TABLES.index(table.name)}"
    return f"{number} as {block}", f"shiftleft(1L, cast({key} & 63 as int)) as {bit}"


def _union(frames: list[DataFrame]) -> DataFrame:
    return functools.reduce(DataFrame.union, frames)
