"""Keys and values in a database, shared by all processes of an instance."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from kestra_dagster.errors import RetryableError
from kestra_dagster.runtime.context import OWN, KeyValue
from kestra_dagster.runtime.patience import Patience, ServerGone, place_of
from kestra_dagster.runtime.records_json import jsonable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Row, Table

T = TypeVar("T")

BUSY_SECONDS = 30
"""How long a writer of SQLite waits for the others."""


class DatabaseUnreachable(RetryableError):
    """The database of the instance does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row that has not expired."""

    text: str
    kind: str
    description: str | None
    expires: int | None

    @property
    def value(self) -> Any:
        return decoded(self.kind, self.text)


class SqlKeyValues:
    """The key-value store in the table `kestra_kv` of a database (SQLite or Postgres).

    Nothing is opened before the first use. Thread-safe; a change is one transaction that holds the
    row, so that writers in any number of processes follow one another. A server that restarts is
    waited for, and a change whose answer got lost is made once.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._patience: Patience | None = None
        self._lock = threading.Lock()
        self._opened: tuple[Engine, Table] | None = None

    def get(self, namespace: str, key: str) -> KeyValue | None:
        """Return what is stored under a key; None if there is nothing, or it has expired."""

        def read() -> _Entry | None:
            with self._connection() as (connection, table):
                return self._entry(connection, table, namespace, key, lock=False)

        entry = self._patiently(read)
        if entry is None:
            return None
        return KeyValue(entry.value, entry.description, _moment(entry.expires))

    def set(
        self,
        namespace: str,
        key: str,
        value: Any,
        *,
        ttl: timedelta | None = None,
        description: str | None = None,
        overwrite: bool = True,
    ) -> bool:
        """Store a value; with `overwrite=False` return False and change nothing if it exists."""
        expires = _now() + round(ttl.total_seconds() * 1000) if ttl is not None else None
        entry = _Entry(*encoded(value), description, expires)

        def change(current: _Entry | None) -> _Entry | None:
            return entry if overwrite or current is None else None

        return self._change(namespace, key, change) is not None

    def edit(self, namespace: str, key: str, change: Callable[[Any | None], Any]) -> Any:
        """Store and return `change(current value or None)`, in one step among all writers.

        `change` may be called again when another writer was first. Description and time to live
        stay as they are.
        """

        def entry(current: _Entry | None) -> _Entry:
            text, kind = encoded(change(current.value if current else None))
            if current is None:
                return _Entry(text, kind, None, None)
            return _Entry(text, kind, current.description, current.expires)

        changed = self._change(namespace, key, entry)
        assert changed is not None
        return changed.value

    def delete(self, namespace: str, key: str) -> bool:
        """Delete a key and say whether it was there."""
        was_there = False

        def remove() -> None:
            nonlocal was_there
            with self._writing() as (connection, table):
                entry = self._entry(connection, table, namespace, key, lock=True)
                was_there |= entry is not None
                connection.execute(table.delete().where(_at(table, namespace, key)))

        self._patiently(remove)
        return was_there

    def keys(self, namespace: str, prefix: str = "") -> list[str]:
        """Return the keys of a namespace that start with `prefix`, sorted."""

        def read() -> Sequence[Row[Any]]:
            with self._connection() as (connection, table):
                query = table.select().where(table.c.namespace == namespace, _live(table))
                return connection.execute(query).all()

        return sorted(row.key for row in self._patiently(read) if row.key.startswith(prefix))

    def purge(self, namespaces: Sequence[str], key_pattern: str | None, expired_only: bool) -> int:
        """Delete keys that match the glob (none: all) in namespaces that match the globs."""
        doomed: set[tuple[str, str]] = set()

        def remove() -> None:
            with self._writing() as (connection, table):
                found = table.select().with_only_columns(table.c.namespace, table.c.key)
                query = found.where(_expired(table)) if expired_only else found
                for row in connection.execute(query).all():
                    if (
                        not row.namespace.startswith(OWN)
                        and any(fnmatchcase(row.namespace, glob) for glob in namespaces)
                        and fnmatchcase(row.key, key_pattern or "*")
                    ):
                        doomed.add((row.namespace, row.key))
                        connection.execute(table.delete().where(_at(table, row.namespace, row.key)))

        self._patiently(remove)
        return len(doomed)

    def _change(
        self, namespace: str, key: str, change: Callable[[_Entry | None], _Entry | None]
    ) -> _Entry | None:
        """Replace the entry of a key by `change(entry)`; leave it where that is None."""
        from sqlalchemy.exc import IntegrityError

        tried: dict[str, Any] | None = None

        def attempt() -> _Entry | None:
            nonlocal tried
            with self._writing() as (connection, table):
                row = self._row(connection, table, namespace, key, lock=True)
                if tried and row and all(getattr(row, name) == tried[name] for name in tried):
                    return _live_entry(row)  # it was made, only the answer got lost
                entry = change(_live_entry(row))
                if entry is None:
                    return None
                values = tried = {
                    "value": entry.text,
                    "kind": entry.kind,
                    "description": entry.description,
                    "expires": entry.expires,
                    "version": row.version + 1 if row else 1,
                }
                if row is None:
                    where = {"namespace": namespace, "key": key}
                    connection.execute(table.insert().values(**where, **values))
                else:
                    changed = table.update().where(_at(table, namespace, key)).values(**values)
                    connection.execute(changed)
                return entry

        while True:
            try:
                return self._patiently(attempt)
            except IntegrityError:
                tried = None
                continue  # another writer inserted the key first: it is there now, and can be held

    def _entry(
        self, connection: Connection, table: Table, namespace: str, key: str, *, lock: bool
    ) -> _Entry | None:
        return _live_entry(self._row(connection, table, namespace, key, lock=lock))

    def _row(
        self, connection: Connection, table: Table, namespace: str, key: str, *, lock: bool
    ) -> Row[Any] | None:
        query = table.select().where(_at(table, namespace, key))
        return connection.execute(query.with_for_update() if lock else query).one_or_none()

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, Table]]:
        with self._connection() as (connection, table):
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection, table
            connection.commit()

    @contextmanager
    def _connection(self) -> Iterator[tuple[Connection, Table]]:
        engine, table = self._open()
        with engine.connect() as connection:
            yield connection, table

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do something with the database, again where its server goes away meanwhile."""
        from sqlalchemy.exc import DBAPIError, IntegrityError

        try:
            if self._url.startswith("sqlite"):
                return do()
            if self._patience is None:
                self._patience = Patience(place_of(self._url))
            done = self._patience.retried(do)
            self._patience.answered()
            return done
        except IntegrityError:
            raise
        except (DBAPIError, ServerGone) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseUnreachable(
                f"the key-value store in `{_without_password(self._url)}` does not answer: {reason}"
            ) from error

    def _open(self) -> tuple[Engine, Table]:
        with self._lock:
            if self._opened is None:
                self._opened = _opened(self._url)
                weakref.finalize(self, self._opened[0].dispose)
            return self._opened


def _opened(url: str) -> tuple[Engine, Table]:
    """Return an engine on the database and the table, which is made if it is missing."""
    from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

    engine = engine_of(url)
    table = Table(
        "kestra_kv",
        MetaData(),
        Column("namespace", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("description", Text),
        Column("expires", BigInteger),
        Column("version", Integer, nullable=False),
    )
    create_tables(engine, table.metadata)
    return engine, table


def engine_of(url: str, kept: int = 4, *, tested: bool = True) -> Engine:
    """Return an engine on a database of an instance; on SQLite, who writes begins `IMMEDIATE`.

    It keeps so many connections open when nobody uses them, and unless it says otherwise each is
    tested before it is lent.
    """
    from sqlalchemy import create_engine, event

    engine = create_engine(
        url, pool_size=kept, max_overflow=28, pool_pre_ping=tested and "sqlite" not in url
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Make the tables that are missing."""
    from sqlalchemy.exc import DBAPIError

    try:
        metadata.create_all(engine)
    except DBAPIError:
        # Two processes that both find no table both make it, and one of them fails.
        metadata.create_all(engine)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_writing` says so
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _at(table: Table, namespace: str, key: str) -> Any:
    return (table.c.namespace == namespace) & (table.c.key == key)


def _expired(table: Table) -> Any:
    return table.c.expires <= _now()


def _live(table: Table) -> Any:
    return table.c.expires.is_(None) | (table.c.expires > _now())


def _live_entry(row: Row[Any] | None) -> _Entry | None:
    if row is None or (row.expires is not None and row.expires <= _now()):
        return None
    return _Entry(row.value, row.kind, row.description, row.expires)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _moment(millis: int | None) -> datetime | None:
    return datetime.fromtimestamp(millis / 1000, timezone.utc) if millis is not None else None


def encoded(value: Any) -> tuple[str, str]:
    """Return a value as text, and the kind that says how to read it."""
    if isinstance(value, datetime):
        return value.isoformat(), "datetime"
    if isinstance(value, date):
        return value.isoformat(), "date"
    if isinstance(value, timedelta):
        return str(value // timedelta(microseconds=1)), "duration"
    return json.dumps(jsonable(value), ensure_ascii=False, separators=(",", ":")), "json"


def decoded(kind: str, text: str) -> Any:
    """Return the value that `encoded` made text of."""
    if kind == "datetime":
        return datetime.fromisoformat(text)
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "duration":
        return timedelta(microseconds=int(text))
    return json.loads(text)


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)
