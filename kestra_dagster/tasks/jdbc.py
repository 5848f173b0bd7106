"""`io.kestra.plugin.jdbc.<database>`: Query, Queries and Trigger of every database.

The classes differ by their database alone, and are made when they are first asked for.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, create_model

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec, TaskSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.working_files import inside, write_input_files
from kestra_dagster.tasks.items import EXTENSION, write_items
from kestra_dagster.tasks.jdbc_databases import DATABASES, opened, place_of
from kestra_dagster.tasks.jdbc_rows import has_rows, rows_of
from kestra_dagster.tasks.jdbc_sql import bound, only_reads, statements
from kestra_dagster.tasks.polling import Found, Poll

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

Fetch = Literal["NONE", "FETCH", "FETCH_ONE", "STORE"]
_CANCELS = ("cancel", "interrupt")
"""What drivers call the way to stop a statement from another thread."""


class JdbcSpec(RunnableSpec):
    """Where the database is, what to ask, and what becomes of the rows."""

    database: ClassVar[str]
    deprecated: ClassVar[Mapping[str, str]] = {
        "fetch": "`fetchType: FETCH`",
        "fetchOne": "`fetchType: FETCH_ONE`",
        "store": "`fetchType: STORE`",
        "autoCommit": "nothing: it has no effect",
        "autocommit": "nothing: it has no effect",
        "connectionPooling": "nothing: it has no effect",
        "connectionPoolSize": "nothing: it has no effect",
    }

    url: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    time_zone_id: Dynamic[Text] | None = None
    sql: Text
    parameters: Dynamic[dict[str, Any]] | None = None
    fetch_type: Dynamic[Fetch] = "NONE"
    fetch_size: Dynamic[int] = Field(default=10_000, ge=1)
    fetch: bool = False
    fetch_one: bool = False
    store: bool = False
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
        """Prepare the working folder and return the variables of `sql` that tell of it."""
        write_input_files(cast(Any, self.input_files), context)
        return {"workingDir": str(context.working_dir)}

    def connect_arguments(self) -> dict[str, Any]:
        """Return what the driver is told beside the URL."""
        return {}

    def file_of(self, url: str | None, context: TaskContext) -> str | None:
        """Return the file of a database that is one: where its URL says, in the working folder."""
        return None if url is None else str(context.working_dir / url)

    def made(self, context: TaskContext) -> dict[str, Any]:
        """Return outputs beside the rows: files that were made; the connection is closed then."""
        return {}

    def sql_text(self, context: TaskContext) -> str:
        """Return `sql` rendered, with the files it may speak of."""
        return context.render(self.sql, self.files(context))

    @contextmanager
    def connected(self, context: TaskContext) -> Iterator[Connection]:
        """Give a connection; what the task's cancellation stops, and errors as TaskFailed."""
        from sqlalchemy.exc import DBAPIError, NoSuchModuleError

        place = place_of(self.database, self.url, self.username, self.password)
        if DATABASES[self.database].in_files:
            file = self.file_of(place.url.database, context)
            place = replace(place, url=place.url.set(database=file) if file else place.url)
        for name in place.ignored:
            context.log.warn(f"the driver of {self.database} does not know `{name}` of `url`")
        engine = opened(self.database, place, **self.connect_arguments())
        try:
            with engine.connect() as connection:
                forget = context.cancel.on_cancel(lambda: _stop(connection))
                try:
                    yield connection
                finally:
                    forget()
        except (DBAPIError, NoSuchModuleError) as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            raise TaskFailed(_said(error, self.database)) from None
        except ImportError as error:
            package = DATABASES[self.database].package
            raise TaskMisconfigured(
                f"there is no driver for {self.database} here ({error})",
                hint=f"install it: pip install '{package}'",
            ) from None
        finally:
            engine.dispose()

    def ask(self, connection: Connection, statement: str, context: TaskContext) -> CursorResult:
        """Run one statement with `parameters`."""
        context.log.debug(f"Starting query: {statement}")
        streams = self.chosen_fetch == "STORE" and only_reads(statement)
        options = {"stream_results": True, "max_row_buffer": self.fetch_size} if streams else {}
        made = bound(statement, self.parameters, connection.dialect.paramstyle)
        if made.values is None:
            options["no_parameters"] = True
        return connection.exec_driver_sql(
            made.text, cast(Any, made.values), execution_options=cast(Any, options)
        )

    def taken(self, result: CursorResult, context: TaskContext) -> dict[str, Any]:
        """Return the outputs that a result becomes; none of a statement without rows."""
        if not has_rows(result):
            return {}
        rows = rows_of(result, self.time_zone_id, self.fetch_size, context.cancel.check)
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


def _stop(connection: Connection) -> None:
    """Stop what runs on a connection, from another thread."""
    raw = connection.connection.dbapi_connection
    inner = getattr(raw, "_ConnectionWrapper__c", raw)
    for name in _CANCELS:
        stop = getattr(inner, name, None)
        if callable(stop):
            stop()
            return
    close = getattr(raw, "close", None)
    if callable(close):
        close()


def _said(error: Exception, database: str) -> str:
    """Return what the database said, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip() or type(cause).__name__
    return f"{database}: {text}"


class Query(JdbcSpec):
    """Run one statement."""

    after_sql: Text | None = Field(None, alias="afterSQL")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        sql = self.sql_text(context)
        after = context.render(self.after_sql) if self.after_sql else None
        with self.connected(context) as connection:
            if after is None and self.chosen_fetch != "STORE":
                connection = connection.execution_options(**_own_commits(connection))
            outputs = self.taken(
                self.ask(connection, _single(sql, "Query", "Queries"), context), context
            )
            for statement in statements(after or ""):
                self.ask(connection, statement, context).close()
            connection.commit()
        context.metric("fetch.size", outputs.get("size", 0))
        return {**outputs, **self.made(context)}


class Queries(JdbcSpec):
    """Run several statements, by default all or none of them."""

    transaction: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        sql = self.sql_text(context)
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
            connection.commit()
        context.metric("fetch.size", sum(each.get("size", 0) for each in outputs))
        return {"outputs": outputs, **self.made(context)}


class Trigger(JdbcSpec, Poll):
    """Ask every `interval`, and start the flow when there are rows.

    `afterSQL` is part of the query's transaction, which is committed once the start is safe: rows
    that it takes away are never lost. A process that dies in between sees them again.
    """

    fetch_type: Dynamic[Fetch] = "FETCH"
    after_sql: Text | None = Field(None, alias="afterSQL")

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        sql = _single(self.sql_text(context), "Trigger", None)
        after = context.render(self.after_sql) if self.after_sql else ""
        with ExitStack() as stack:
            connection = stack.enter_context(self.connected(context))
            if after and connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            outputs = self.taken(self.ask(connection, sql, context), context)
            if not outputs.get("size"):
                return Found(None, memory)
            for statement in statements(after):
                self.ask(connection, statement, context).close()
            held = stack.pop_all()

        def commit() -> None:
            with held:
                connection.commit()

        return Found(outputs, memory, commit, held.close)


def _single(sql: str, what: str, other: str | None) -> str:
    found = statements(sql)
    if len(found) != 1:
        raise TaskMisconfigured(
            f"`sql` holds {len(found) or 'no'} statements, and a {what} runs one",
            hint=f"use `{other}` for several" if other and found else "write one statement",
        )
    return found[0]


def _own_commits(connection: Connection) -> dict[str, str]:
    """Return the option by which each statement is on its own, where the driver has that."""
    if connection.dialect.name == "duckdb":
        return {}  # it says that it has levels, and has none
    try:
        levels = connection.dialect.get_isolation_level_values(cast(Any, connection.connection))
    except NotImplementedError:
        return {}
    return {"isolation_level": "AUTOCOMMIT"} if "AUTOCOMMIT" in levels else {}


class Postgresql(JdbcSpec):
    """PostgreSQL, with its own ways to encrypt."""

    database = "postgresql"
    ssl: Dynamic[bool] = False
    ssl_mode: Dynamic[
        Literal["DISABLE", "ALLOW", "PREFER", "REQUIRE", "VERIFY_CA", "VERIFY_FULL"] | None
    ] = None
    ssl_root_cert: Dynamic[Text] | None = None
    ssl_cert: Dynamic[Text] | None = None
    ssl_key: Dynamic[Text] | None = None
    ssl_key_password: Dynamic[Text] | None = None

    def connect_arguments(self) -> dict[str, Any]:
        mode = self.ssl_mode or ("REQUIRE" if self.ssl else None)
        given = {
            "sslmode": mode.lower().replace("_", "-") if mode else None,
            "sslrootcert": self.ssl_root_cert,
            "sslcert": self.ssl_cert,
            "sslkey": self.ssl_key,
            "sslpassword": self.ssl_key_password,
        }
        return {name: value for name, value in given.items() if value}


class FileDatabase(JdbcSpec):
    """A database that is one file, which may come from and go to internal storage."""

    file_name: ClassVar[str]
    output_db_file: Dynamic[bool] = False

    def source(self) -> str | None:
        """Return the URI of the database to begin with."""
        return None

    def file_of(self, url: str | None, context: TaskContext) -> str | None:
        if url is None and not (self.source() or self.output_db_file):
            return None
        path = self._path(url, context)
        source = self.source()
        if source and not path.exists():
            with context.storage.open(source) as stored, path.open("wb") as file:
                shutil.copyfileobj(stored, file)
        return str(path)

    def _path(self, url: str | None, context: TaskContext) -> Path:
        if url is None:
            return context.working_dir / self.file_name
        return Path(url) if Path(url).is_absolute() else inside(context.working_dir, url)

    def made(self, context: TaskContext) -> dict[str, Any]:
        """Return the stored database, if that is asked for."""
        if not self.output_db_file:
            return {}
        url = place_of(self.database, self.url).url.database
        path = self._path(url, context)
        return {"databaseUri": context.storage.put(path, path.name)}


class Sqlite(FileDatabase):
    """SQLite, in the working folder of the task, in a file or in memory."""

    database = "sqlite"
    file_name = "database.sqlite"
    url: Dynamic[Text] = "jdbc:sqlite:"
    sqlite_file: Dynamic[Text] | None = None

    def source(self) -> str | None:
        return self.sqlite_file

    def connect_arguments(self) -> dict[str, Any]:
        return {"check_same_thread": False}


class Duckdb(FileDatabase):
    """DuckDB, which also reads and writes files of the working folder."""

    database = "duckdb"
    file_name = "database.duckdb"
    url: Dynamic[Text] = "jdbc:duckdb:"
    database_uri: Dynamic[Text] | None = None
    database_file: Dynamic[Text] | None = None
    output_files: Dynamic[list[Text]] | None = None

    def source(self) -> str | None:
        return self.database_uri or self.database_file

    def files(self, context: TaskContext) -> dict[str, Any]:
        names = {name: str(inside(context.working_dir, name)) for name in self.output_files or ()}
        return {**super().files(context), "outputFiles": names}

    def made(self, context: TaskContext) -> dict[str, Any]:
        stored = {}
        for name in self.output_files or ():
            path = inside(context.working_dir, name)
            if not path.is_file():
                raise TaskFailed(
                    f"the SQL did not write the output file `{name}`",
                    hint="write it with `COPY ... TO '{{ outputFiles." + name + " }}'`",
                )
            stored[name] = context.storage.put(path, path.name)
        return {**super().made(context), **({"outputFiles": stored} if stored else {})}


_OWN: Mapping[str, type[JdbcSpec]] = {
    "duckdb": Duckdb,
    "postgresql": Postgresql,
    "redshift": Postgresql,
    "sqlite": Sqlite,
}
_KINDS: Mapping[str, type[JdbcSpec]] = {"Query": Query, "Queries": Queries, "Trigger": Trigger}


def jdbc_type(type_name: str) -> type[Any]:
    """Return the class of a type, such as `io.kestra.plugin.jdbc.postgresql.Query`."""
    _, database, kind = type_name.rsplit(".", 2)
    return _made(database, kind)


@functools.cache
def _made(database: str, kind: str) -> type[TaskSpec]:
    own, base = _OWN.get(database, JdbcSpec), _KINDS[kind]
    # What a database has of its own comes first, so that it may replace what all have.
    bases = (base,) if own is JdbcSpec else (own, base)
    # Of two bases pydantic takes all fields of the first, inherited ones too.
    fetches: Any = (Dynamic[Fetch], base.model_fields["fetch_type"].default)
    made = create_model(
        f"{database.capitalize()}{kind}",
        __base__=cast(Any, bases),
        __module__=__name__,
        fetch_type=fetches,
    )
    made.database = database  # type: ignore[attr-defined]
    return cast(type[TaskSpec], made)
