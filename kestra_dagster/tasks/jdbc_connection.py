"""`io.kestra.plugin.jdbc`: where a database is, what is its own, and how it is connected to."""

from __future__ import annotations

import shutil
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.jdbc_databases import DATABASES, no_driver, opened, place_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_CANCELS = ("cancel", "interrupt")
"""What drivers call the way to stop a statement from another thread."""


class JdbcConnection(RunnableSpec):
    """Where the database is, and as whom to speak to it."""

    database: ClassVar[str]
    deprecated: ClassVar[Mapping[str, str]] = {
        "autoCommit": "nothing: it has no effect",
        "autocommit": "nothing: it has no effect",
        "connectionPooling": "nothing: it has no effect",
        "connectionPoolSize": "nothing: it has no effect",
    }

    url: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    time_zone_id: Dynamic[Text] | None = None

    def files(self, context: TaskContext) -> dict[str, Any]:
        """Prepare the working folder and return the variables of `sql` that tell of it."""
        return {"workingDir": str(context.working_dir)}

    def connect_arguments(self) -> dict[str, Any]:
        """Return what the driver is told beside the URL."""
        return {}

    def begin(self, connection: Connection, context: TaskContext) -> None:
        """Prepare a connection that was just made."""

    def file_of(self, url: str | None, context: TaskContext) -> str | None:
        """Return the file of a database that is one: where its URL says, in the working folder."""
        return None if url is None else str(context.working_dir / url)

    def made(self, context: TaskContext) -> dict[str, Any]:
        """Return outputs beside the rows: files that were made; the connection is closed then."""
        return {}

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
                forget = context.cancel.on_cancel(lambda: _stop(connection, engine))
                try:
                    self.begin(connection, context)
                    yield connection
                finally:
                    forget()
        except ImportError as error:
            raise no_driver(self.database, error) from None
        except Exception as error:
            driver = getattr(engine.dialect.dbapi, "Error", DBAPIError)
            if not isinstance(error, (DBAPIError, NoSuchModuleError, driver)):
                raise
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            raise TaskFailed(_said(error, self.database)) from None
        finally:
            engine.dispose()


class Postgresql(JdbcConnection):
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


class Snowflake(JdbcConnection):
    """Snowflake, with what a session begins with, and keys in place of passwords."""

    database = "snowflake"
    session_database: Dynamic[Text] | None = Field(None, alias="database")
    session_schema: Dynamic[Text] | None = Field(None, alias="schema")
    warehouse: Dynamic[Text] | None = None
    role: Dynamic[Text] | None = None
    query_tag: Dynamic[Text] | None = None
    private_key: Dynamic[Text] | None = None
    private_key_password: Dynamic[Text] | None = None
    private_key_file: Dynamic[Text] | None = None
    private_key_file_password: Dynamic[Text] | None = None

    def connect_arguments(self) -> dict[str, Any]:
        given = {
            "database": self.session_database,
            "schema": self.session_schema,
            "warehouse": self.warehouse,
            "role": self.role,
            "session_parameters": {"QUERY_TAG": self.query_tag} if self.query_tag else None,
            "private_key": self._key(),
            "private_key_file": self.private_key_file,
            "private_key_file_pwd": self.private_key_file_password,
        }
        return {name: value for name, value in given.items() if value}

    def _key(self) -> bytes | None:
        """Return the key as the driver takes it; it may be PEM, or what stands between its ends."""
        if not self.private_key:
            return None
        from cryptography.hazmat.primitives import serialization as formats

        password = self.private_key_password.encode() if self.private_key_password else None
        try:
            if "-----BEGIN" in self.private_key:
                key = formats.load_pem_private_key(self.private_key.encode(), password)
            else:
                key = formats.load_der_private_key(b64decode(self.private_key), password)
        except (ValueError, TypeError) as error:
            raise TaskMisconfigured(f"`privateKey` cannot be read: {error}") from None
        none = formats.NoEncryption()
        return key.private_bytes(formats.Encoding.DER, formats.PrivateFormat.PKCS8, none)


class FileDatabase(JdbcConnection):
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

    def begin(self, connection: Connection, context: TaskContext) -> None:
        folder = str(context.working_dir).replace("'", "''")
        connection.exec_driver_sql(f"SET file_search_path = '{folder}'")

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


OWN: Mapping[str, type[JdbcConnection]] = {
    "duckdb": Duckdb,
    "postgresql": Postgresql,
    "redshift": Postgresql,
    "snowflake": Snowflake,
    "sqlite": Sqlite,
}
"""Databases with properties of their own."""


def _stop(connection: Connection, engine: Engine) -> None:
    """Stop what runs on a connection, from another thread."""
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name in ("mysql", "mariadb"):
        with engine.connect() as other:
            other.exec_driver_sql(f"KILL QUERY {raw.thread_id()}")
        return
    inner = getattr(raw, "_ConnectionWrapper__c", raw)
    for name in (*_CANCELS, "close"):
        stop = getattr(inner, name, None)
        if callable(stop):
            stop()
            return


def _said(error: Exception, database: str) -> str:
    """Return what the database said, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip() or type(cause).__name__
    return f"{database}: {text}"
