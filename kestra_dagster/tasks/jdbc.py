"""`io.kestra.plugin.jdbc.<database>`: Query, Queries, Batch and Trigger of every database.

The classes differ by their database alone, and are made when they are first asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, create_model

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import TaskSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.working_files import write_input_files
from kestra_dagster.tasks.items import EXTENSION, write_items
from kestra_dagster.tasks.jdbc_batch import Batch
from kestra_dagster.tasks.jdbc_connection import OWN, JdbcConnection
from kestra_dagster.tasks.jdbc_rows import has_rows, rows_of
from kestra_dagster.tasks.jdbc_sql import bound, only_reads, statements
from kestra_dagster.tasks.polling import Found, Poll

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

_ANSWERS: Mapping[str, int] = {"duckdb": -1, "postgresql": 0, "redshift": 0, "sqlserver": 0}
"""Databases whose drivers in Java take several statements at once, and which of them answers."""
Fetch = Literal["NONE", "FETCH", "FETCH_ONE", "STORE"]


class JdbcSpec(JdbcConnection):
    """What to ask, and what becomes of the rows."""

    deprecated: ClassVar[Mapping[str, str]] = {
        **JdbcConnection.deprecated,
        "fetch": "`fetchType: FETCH`",
        "fetchOne": "`fetchType: FETCH_ONE`",
        "store": "`fetchType: STORE`",
    }

    sql: Text
    parameters: Dynamic[dict[str, Any]] | None = None
    fetch_type: Dynamic[Fetch] = "NONE"
    fetch_size: Dynamic[int] = 10_000
    """How many rows are asked for at once; what is no number of rows, as MySQL's driver wants it
    of Java, is the default."""
    fetch: bool = False
    fetch_one: bool = False
    store: bool = False
    after_sql: Text | None = Field(None, alias="afterSQL")
    input_files: Dynamic[dict[str, Any] | Text] | None = None

    @property
    def chosen_fetch(self) -> Fetch:
        """What becomes of the rows, by the older properties too."""
        if self.fetch:
            return "FETCH"
        if self.fetch_one:
            return "FETCH_ONE"
        return "STORE" if self.store else self.fetch_type

    def files(self, context: TaskContext) -> dict[str, Any]:
        write_input_files(cast(Any, self.input_files), context)
        return super().files(context)

    def sql_text(self, context: TaskContext) -> str:
        """Return `sql` rendered, with the files it may speak of."""
        return context.render(self.sql, self.files(context))

    def parts(self, context: TaskContext, what: str, other: str | None) -> list[str]:
        """Return the statement of `sql`, or several; raise TaskMisconfigured where that is wrong.

        `what` runs it, and `other` would run several.
        """
        found = statements(self.sql_text(context))
        if len(found) == 1 or (found and self.database in _ANSWERS):
            return found
        raise TaskMisconfigured(
            f"`sql` holds {len(found) or 'no'} statements, and a {what} runs one",
            hint=f"use `{other}` for several" if other and found else "write one statement",
        )

    def answer(
        self, connection: Connection, parts: Sequence[str], context: TaskContext
    ) -> dict[str, Any]:
        """Run the statements and return the outputs of the one that answers for all."""
        answering = _ANSWERS.get(self.database, 0) % len(parts)
        outputs: dict[str, Any] = {}
        for index, part in enumerate(parts):
            context.cancel.check()
            result = self.ask(connection, part, context)
            if index == answering:
                outputs = self.taken(result, context)
            result.close()
        return outputs

    def after(self, context: TaskContext) -> list[str]:
        """Return the statements of `afterSQL`, rendered."""
        return statements(context.render(self.after_sql)) if self.after_sql else []

    @property
    def rows_at_once(self) -> int:
        """How many rows are asked for at once."""
        return self.fetch_size if self.fetch_size > 0 else 10_000

    def ask(self, connection: Connection, statement: str, context: TaskContext) -> CursorResult:
        """Run one statement with `parameters`."""
        context.log.debug(f"Starting query: {statement}")
        streams = self.chosen_fetch == "STORE" and only_reads(statement)
        options = {"stream_results": True, "max_row_buffer": self.rows_at_once} if streams else {}
        made = bound(statement, self.parameters, connection.dialect.paramstyle)
        if made.values is None:
            options["no_parameters"] = True
        result = connection.exec_driver_sql(
            made.text, cast(Any, made.values), execution_options=cast(Any, options)
        )
        # Some databases answer a query that is stopped as if it had ended.
        context.cancel.check()
        return result

    def taken(self, result: CursorResult, context: TaskContext) -> dict[str, Any]:
        """Return the outputs that a result becomes; none of a statement without rows."""
        if not has_rows(result):
            return {}
        rows = rows_of(result, self.time_zone_id, self.rows_at_once, context.cancel.check)
        chosen = self.chosen_fetch
        if chosen == "FETCH":
            found = list(rows)
            return {"rows": found, "size": len(found)}
        if chosen == "FETCH_ONE":
            row = next(rows, None)
            result.close()
            return {"size": 0} if row is None else {"row": row, "size": 1}
        if chosen == "STORE":
            with scratch_file(context) as path:
                size = write_items(rows, path)
                uri = context.storage.put(path, f"rows{EXTENSION}")
            return {"uri": uri, "size": size}
        result.close()
        return {}


class Query(JdbcSpec):
    """Run a statement; DuckDB, PostgreSQL and SQL Server take several, as they do of Java."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        parts = self.parts(context, "Query", "Queries")
        after = self.after(context)
        with self.connected(context) as connection:
            if not after and len(parts) == 1 and self.chosen_fetch != "STORE":
                connection = connection.execution_options(**_own_commits(connection))
            outputs = self.answer(connection, parts, context)
            for statement in after:
                self.ask(connection, statement, context).close()
            connection.commit()
        context.metric("fetch.size", outputs.get("size", 0))
        return {**outputs, **self.made(context)}


class Queries(JdbcSpec):
    """Run several statements, by default all or none of them."""

    transaction: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        sql = self.sql_text(context)
        after = self.after(context)
        outputs: list[dict[str, Any]] = []
        with self.connected(context) as connection:
            if not self.transaction and self.chosen_fetch != "STORE":
                connection = connection.execution_options(**_own_commits(connection))
            for statement in statements(sql):
                context.cancel.check()
                result = self.ask(connection, statement, context)
                if has_rows(result):
                    outputs.append(self.taken(result, context))
                if not self.transaction:
                    connection.commit()
            for statement in after:
                self.ask(connection, statement, context).close()
            connection.commit()
        context.metric("fetch.size", sum(each.get("size", 0) for each in outputs))
        return {"outputs": outputs, **self.made(context)}


class Trigger(JdbcSpec, Poll):
    """Ask every `interval`, and start the flow when there are rows.

    `afterSQL` is part of the query's transaction, which is committed once the start is safe: rows
    that it takes away are never lost. A process that dies in between sees them again.
    """

    fetch_type: Dynamic[Fetch] = "FETCH"

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        parts = self.parts(context, "Trigger", None)
        after = self.after(context)
        with ExitStack() as stack:
            connection = stack.enter_context(self.connected(context))
            if after and connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            outputs = self.answer(connection, parts, context)
            if not outputs.get("size"):
                return Found(None, memory)
            for statement in after:
                self.ask(connection, statement, context).close()
            held = stack.pop_all()

        def commit() -> None:
            with held:
                connection.commit()

        return Found(outputs, memory, commit, held.close)


def _own_commits(connection: Connection) -> dict[str, str]:
    """Return the option by which each statement is on its own, where the driver has that."""
    if connection.dialect.name == "duckdb":
        return {}  # it says that it has levels, and has none
    try:
        levels = connection.dialect.get_isolation_level_values(cast(Any, connection.connection))
    except NotImplementedError:
        return {}
    return {"isolation_level": "AUTOCOMMIT"} if "AUTOCOMMIT" in levels else {}


_KINDS: Mapping[str, type[JdbcConnection]] = {
    "Batch": Batch,
    "BulkInsert": Batch,
    "Queries": Queries,
    "Query": Query,
    "Trigger": Trigger,
}


def jdbc_type(type_name: str) -> type[Any]:
    """Return the class of a type, such as `io.kestra.plugin.jdbc.postgresql.Query`."""
    _, database, kind = type_name.rsplit(".", 2)
    return _made(database, kind)


@functools.cache
def _made(database: str, kind: str) -> type[TaskSpec]:
    own, base = OWN.get(database, JdbcConnection), _KINDS[kind]
    # What a database has of its own comes first, so that it may replace what all have.
    bases = (base,) if own is JdbcConnection else (own, base)
    made = create_model(
        f"{database.capitalize()}{kind}",
        __base__=cast(Any, bases),
        __module__=__name__,
        __doc__=base.__doc__,
    )
    made.database = database  # type: ignore[attr-defined]
    return cast(type[TaskSpec], made)
