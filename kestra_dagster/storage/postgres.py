"""Storage on Postgres for an instance: one pool of connections, and events written together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from inspect import getattr_static, isfunction
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as db
from dagster_postgres import (
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import (
    get_token_provider_from_config,
    pg_config,
    pg_url_from_config,
)
from sqlalchemy.exc import DBAPIError

from kestra_dagster.executor.internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    PIPELINE_EVENTS,
    ConfigurableClass,
    ConfigurableClassData,
    DagsterStorage,
    SqlEventLogStorageTable,
    has_listeners,
)
from kestra_dagster.runtime.gathered import Gathered, Row
from kestra_dagster.runtime.patience import ServerGone, is_gone, say
from kestra_dagster.storage.remembered import remembers
from kestra_dagster.storage.server import Server

if TYPE_CHECKING:
    from dagster import EventLogEntry
    from sqlalchemy.engine import Connection

    from kestra_dagster.executor.internals import UserConfigSchema

C = TypeVar("C", bound=type)

TABLES = {"event_logs", "runs", "instance_info", "jobs", "instigators"}
"""A database with all of these was set up before."""

SET_UP_LOCK = 5_283_047_116
"""The number of the lock in the database that makes tables be made by one at a time."""

READS = ("get_", "has_", "fetch_")
"""What begins so may be asked twice."""


def outlives_restarts(*writes: str) -> Callable[[C], C]:
    """Do the reads of a storage, and these writes, again when the server goes away meanwhile."""

    def change(cls: C) -> C:
        for name in dir(cls):
            if name in writes or name.startswith(READS):
                method = getattr_static(cls, name)
                if isfunction(method):
                    setattr(cls, name, _again(method))
        return cls

    return change


def _again(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._server.retried(lambda: method(self, *args, **kwargs))

    return call


@remembers(
    "has_run_stats_index_cols",
    "has_bulk_actions_selector_cols",
    "has_backfill_id_column",
    "has_bulk_action_job_name_column",
    "has_backfill_tags_table",
)
@outlives_restarts(
    "_add_snapshot",
    "add_daemon_heartbeat",
    "add_run_tags",
    "handle_run_event",
    "set_cursor_values",
)
class PooledRunStorage(PostgresRunStorage):
    """Runs and their tags; what is told of a run comes after what was logged before."""

    def __init__(self, server: Server, create_tables: bool, before: Callable[[], None]) -> None:
        self._server = server
        self._before = before
        self._one = threading.local()
        super().__init__(server.url, create_tables, token_provider=server.token_provider)
        self._engine = server.engine

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if connection := getattr(self._one, "connection", None):
            yield connection
            return
        self._before()
        with self._server.connection() as connection:
            yield connection

    def _core_add_run(self, col_values: dict[str, Any], tags: Mapping[str, str]) -> None:
        """Add a run and its tags in one transaction, once, also when the server goes away."""
        tried = False

        def add() -> None:
            nonlocal tried
            if tried and self.has_run(col_values["run_id"]):
                return
            tried = True
            with self._server.transaction() as self._one.connection:
                try:
                    super(PooledRunStorage, self)._core_add_run(col_values, tags)
                finally:
                    self._one.connection = None

        self._before()
        self._server.retried(add)

    def connect(self) -> AbstractContextManager[Connection]:
        return self._connection()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        self._engine = self._server.limit(statement_timeout, pool_recycle)


@remembers("_has_instigators_table", "has_secondary_index_table", "has_built_index")
@outlives_restarts()
class PooledScheduleStorage(PostgresScheduleStorage):
    """Schedules, sensors and their ticks."""

    def __init__(self, server: Server, create_tables: bool) -> None:
        self._server = server
        super().__init__(server.url, create_tables, token_provider=server.token_provider)
        self._engine = server.engine

    def connect(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        return self._server.connection()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        self._engine = self._server.limit(statement_timeout, pool_recycle)


@remembers("has_asset_key_col", "_has_asset_key_col_on_connection")
@outlives_restarts("free_concurrency_slots_for_run", "free_concurrency_slot_for_step")
class PooledEventLogStorage(PostgresEventLogStorage):
    """The event log. Of a run that is `gathering` its events, those are written together.

    They are written in order, after `LATEST_SECONDS` at the latest, when `flush` says so, and
    before this storage, or the run storage beside it, asks the database anything: whoever looks by
    this instance sees all that was logged. What has effects beyond the log (the run's own status,
    assets and their checks) is written at once, after all before it, and each in one transaction.
    """

    def __init__(self, server: Server, create_tables: bool) -> None:
        self._server = server
        self._one = threading.local()
        self.gathered = Gathered(self._write, lambda row: len(row["event"]))
        self._gathering: dict[str, int] = {}
        self._gathering_lock = threading.Lock()
        self._rejected: Exception | None = None
        self._doubtful: set[int] = set()
        super().__init__(server.url, create_tables, token_provider=server.token_provider)
        self._engine = server.engine

    # What the executor asks for

    @contextmanager
    def gathering(self, run_id: str) -> Iterator[Callable[[], None]]:
        """Write the events of a run together; yield what has them written now."""
        with self._gathering_lock:
            self._gathering[run_id] = self._gathering.get(run_id, 0) + 1
        self.gathered.begin()
        try:
            yield self.flush
        finally:
            with self._gathering_lock:
                self._gathering[run_id] -= 1
                if not self._gathering[run_id]:
                    del self._gathering[run_id]
            self.gathered.end()
        self._raise_rejected()

    def flush(self) -> None:
        """Return when all events so far are in the database."""
        self.gathered.flush()
        self._raise_rejected()

    def _raise_rejected(self) -> None:
        if error := self._rejected:
            self._rejected = None
            raise error

    # What Dagster asks for

    def store_event(self, event: EventLogEntry) -> None:
        if event.run_id in self._gathering and not has_effects(event):
            self.gathered.add(self._event_to_row(event))
            if has_listeners(self, event.run_id):
                self.gathered.flush()
            return
        self.gathered.flush()
        row = self._event_to_row(event)
        self._once(row, lambda: self._store_in_one(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        self.gathered.flush()
        super().store_event_batch(events)

    def _connect(self) -> AbstractContextManager[Connection]:
        return self._connection()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if connection := getattr(self._one, "connection", None):
            yield connection
            return
        self.gathered.flush()
        with self._server.connection() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        with self._connect() as connection:
            return db.inspect(connection).has_table(table_name)

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        self._engine = self._server.limit(statement_timeout, pool_recycle)

    def dispose(self) -> None:
        try:
            self.gathered.flush()
        except ServerGone as error:
            say(f"Events that a run said at its end are lost: {error}")
        super().dispose()
        self._server.dispose()

    # How events get to the table

    def _store_in_one(self, event: EventLogEntry) -> None:
        """Store an event and all that depends on it in one transaction."""
        with self._server.transaction() as self._one.connection:
            try:
                super().store_event(event)
            finally:
                self._one.connection = None

    def _write(self, rows: Sequence[Row]) -> None:
        try:
            self._once(rows[0], lambda: self._insert(rows))
        except DBAPIError as error:
            if is_gone(error):
                raise
            self._write_single(rows)
        except (TypeError, ValueError):  # the driver, of what it cannot put into a statement
            self._write_single(rows)

    def _write_single(self, rows: Sequence[Row]) -> None:
        """Write the rows that the database takes, where it has refused one of many.

        As Dagster does, a line of a log is let go with a word about it; an event that tells the
        state of a run is not: `flush` raises.
        """
        for row in rows:
            try:
                self._once(row, lambda row=row: self._insert([row]))
            except (DBAPIError, TypeError, ValueError) as error:
                if isinstance(error, DBAPIError) and is_gone(error):
                    raise
                say(f"Exception while writing logger call to event log: {error}")
                if row["dagster_event_type"]:
                    self._rejected = self._rejected or error

    def _insert(self, rows: Sequence[Row]) -> None:
        # one statement, so all or none
        with self._server.connection() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), list(rows))

    def _once(self, first: Row, store: Callable[[], None]) -> None:
        """Store what `first` is the first row of, also when the server goes away meanwhile.

        Without its answer it is open whether the rows are there: then the table is asked.
        """
        key = id(first)

        def attempt() -> None:
            if key in self._doubtful and self._is_there(first):
                return
            self._doubtful.add(key)
            store()

        try:
            self._server.retried(attempt, alone=True)
        except ServerGone:
            raise  # still in doubt when the same row comes again
        except BaseException:
            self._doubtful.discard(key)
            raise
        self._doubtful.discard(key)

    def _is_there(self, row: Row) -> bool:
        table = SqlEventLogStorageTable.c
        found = (
            db.select(table.id)
            .where(table.run_id == row["run_id"], table.event == row["event"])
            .limit(1)
        )
        with self._server.connection() as connection:
            return connection.execute(found).first() is not None


def has_effects(event: EventLogEntry) -> bool:
    """Say whether an event changes more than the log of its run."""
    if event.dagster_event is None:
        return False
    kind = event.dagster_event.event_type
    return kind in PIPELINE_EVENTS or kind in ASSET_EVENTS or kind in ASSET_CHECK_EVENTS


class PostgresStorage(DagsterStorage, ConfigurableClass):
    """Dagster's storage on Postgres over one pool of connections a process.

    The same tables and configuration as `storage: postgres`, so that one can be changed for the
    other. Survives restarts of the server: runs wait up to a minute for it and lose nothing.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        self._inst_data = inst_data
        self._server = Server(postgres_url, token_provider)
        self.postgres_url = self._server.url
        with ExitStack() as setting_up:
            create = should_autocreate_tables and not self._is_set_up()
            if create:
                setting_up.enter_context(self._alone())
                create = not self._is_set_up()
            self._events = PooledEventLogStorage(self._server, create)
            self._runs = PooledRunStorage(self._server, create, self._events.gathered.flush)
            self._schedules = PooledScheduleStorage(self._server, create)
        super().__init__()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for whoever makes the tables just now, and keep the next one waiting."""
        with self._server.transaction() as connection:
            connection.execute(db.select(db.func.pg_advisory_xact_lock(SET_UP_LOCK)))
            yield

    def _is_set_up(self) -> bool:
        with self._server.connection() as connection:
            return set(db.inspect(connection).get_table_names()) >= TABLES

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return pg_config()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PostgresStorage:
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )

    @property
    def event_log_storage(self) -> PooledEventLogStorage:
        return self._events

    @property
    def run_storage(self) -> PooledRunStorage:
        return self._runs

    @property
    def schedule_storage(self) -> PooledScheduleStorage:
        return self._schedules
