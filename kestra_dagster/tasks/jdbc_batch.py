"""`jdbc.<database>.Batch`: rows of a stored file written by one statement, many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field, model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each
from kestra_dagster.tasks.jdbc_connection import JdbcConnection
from kestra_dagster.tasks.jdbc_sql import positional, statements, values_list
from kestra_dagster.tasks.rows import plain

if TYPE_CHECKING:
    from sqlalchemy import Connection

Row = tuple[Any, ...]


class Batch(JdbcConnection):
    """Write the rows of a stored file with one statement, all or none of them."""

    from_: DataFrom = Field(alias="from")
    sql: Dynamic[Text] | None = None
    table: Dynamic[Text] | None = None
    columns: Dynamic[list[Text]] | None = None
    chunk: Dynamic[int] = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _check_target(self) -> Batch:
        if self.sql is None and self.table is None:
            raise ValueError("needs `sql`, an insert with a `?` for each column, or `table`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        rows = each(self.from_, context)
        first = next(rows, None)
        count = updated = 0
        if first is not None:
            statement = self._statement(first)
            with self.connected(context) as connection:
                for chunk in self._chunks(first, rows):
                    context.cancel.check()
                    updated += written(connection, statement, chunk)
                    count += len(chunk)
                connection.commit()
        context.metric("records", count)
        context.metric("updated", updated)
        context.log.info(f"{count} rows were written")
        return {"rowCount": count, "updatedCount": updated, **self.made(context)}

    def _statement(self, first: Any) -> str:
        if self.sql is not None:
            found = statements(self.sql)
            if len(found) != 1:
                raise TaskMisconfigured(
                    f"`sql` holds {len(found)} statements, and a Batch runs one"
                )
            return found[0]
        names = self.columns or (list(first) if isinstance(first, dict) else None)
        marks = ", ".join("?" * (len(names) if names else len(first)))
        head = f"insert into {self.table}"
        return (
            f"{head} ({', '.join(names)}) values ({marks})" if names else f"{head} values ({marks})"
        )

    def _chunks(self, first: Any, rows: Iterator[Any]) -> Iterator[list[Row]]:
        # Without `columns` the file's own order counts, and for `table` that of its first row.
        names = self.columns
        if names is None and self.sql is None and isinstance(first, dict):
            names = list(first)
        chunk = [
            _values(first, names),
            *(_values(row, names) for row in islice(rows, self.chunk - 1)),
        ]
        while chunk:
            yield chunk
            chunk = [_values(row, names) for row in islice(rows, self.chunk)]


def written(connection: Connection, statement: str, rows: Sequence[Row]) -> int:
    """Run a statement with a `?` per value for each row, and return how many rows it changed."""
    style = connection.dialect.paramstyle
    if connection.dialect.driver == "psycopg2":
        parts = values_list(statement)
        if parts is not None:
            return _at_once(connection, parts, rows)
    values = [_bindable(row, connection.dialect.name) for row in rows]
    made = positional(statement, style)
    result = connection.exec_driver_sql(made, cast(Any, values))
    return max(result.rowcount, 0)


def _at_once(connection: Connection, parts: tuple[str, str, str], rows: Sequence[Row]) -> int:
    """Insert rows by a single statement, which is faster than one after another."""
    from psycopg2.extras import execute_values

    before, template, after = (positional(part, "format") for part in parts)
    raw: Any = connection.connection.dbapi_connection
    values = [_bindable(row, "postgresql") for row in rows]
    if not connection.in_transaction():
        connection.begin()
    with raw.cursor() as cursor:
        try:
            execute_values(cursor, f"{before}%s{after}", values, template, page_size=len(values))
        except (IndexError, TypeError) as error:
            raise TaskFailed(
                f"a row has another number of values than `sql` has `?`: {error}"
            ) from None
        return max(cursor.rowcount, 0)


def _values(row: Any, names: Sequence[str] | None) -> Row:
    if isinstance(row, dict):
        if names is None:
            return tuple(row.values())
        missing = [name for name in names if name not in row]
        if missing and len(missing) == len(names):
            raise TaskFailed(
                f"a row has none of the columns {', '.join(f'`{name}`' for name in names)}",
                hint=f"its columns are {', '.join(f'`{name}`' for name in row)}",
            )
        return tuple(row.get(name) for name in names)
    if isinstance(row, list):
        return tuple(row)
    raise TaskFailed(f"a row is neither a map nor a list: {str(row)[:100]!r}")


def _bindable(row: Row, database: str) -> Row:
    """Return values as drivers take them: lists and maps as JSON, moments as dates of Python."""
    from kestra_dagster.expressions.java_time import Moment

    def one(value: Any) -> Any:
        if isinstance(value, Moment):
            value = value.when
        if isinstance(value, (dict, list)):
            return json.dumps(plain(value), ensure_ascii=False)
        if database == "sqlite" and not isinstance(value, (str, int, float, bytes, type(None))):
            return plain(value)
        return value

    return tuple(map(one, row))
