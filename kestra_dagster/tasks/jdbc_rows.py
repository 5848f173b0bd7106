"""Rows of a database as JSON data: dates with their zone, numbers, bytes as base64."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.tasks.jdbc_sql import reads

if TYPE_CHECKING:
    from sqlalchemy import CursorResult


_COUNTED = ("Count", "Success")
"""What DuckDB calls the one column in which it says how many rows a change touched."""


def has_rows(result: CursorResult) -> bool:
    """Say whether a statement is a query: a change is none, though DuckDB answers with a row."""
    if not result.returns_rows:
        return False
    if result.dialect.name != "duckdb" or tuple(result.keys()) not in ((one,) for one in _COUNTED):
        return True
    statement = getattr(result.context, "statement", None) or ""
    return reads(statement)


def rows_of(
    result: CursorResult, zone: str | None, at_once: int, check: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a result by column label, `at_once` of them a time; `check` may stop it.

    A moment is told in `zone` where one is given; one without a zone stays without.
    """
    from kestra_dagster.expressions.java_time import zone_of

    in_zone = zone_of(zone) if zone else None
    labels = _labels(result)
    while batch := result.fetchmany(at_once):
        check()
        for row in batch:
            yield {
                label: cell(value, in_zone) for label, value in zip(labels, tuple(row), strict=True)
            }


def _labels(result: CursorResult) -> list[str]:
    """Return the names of columns as the database has them.

    SQLAlchemy makes small letters of the capitals of Oracle, Snowflake and others.
    """
    keys = list(result.keys())
    described = getattr(result.cursor, "description", None) or ()
    return [column[0] for column in described] if len(described) == len(keys) else keys


def cell(value: Any, zone: tzinfo | None) -> Any:
    """Return a value of a database as JSON has it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, datetime):
        here = value.astimezone(zone) if zone and value.tzinfo else value
        return here.isoformat().replace("+00:00", "Z")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return {str(key): cell(item, zone) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [cell(item, zone) for item in value]
    return jsonable(value)
