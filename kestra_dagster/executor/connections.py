"""How a run writes its events: connections that outlive the single event, commits that hold many.

Dagster opens and closes a connection for each event, and that is most of what a short step costs:
on SQLite the last one to close a database writes its log back and deletes it, on Postgres each
connection is a process of the server. There every event is still committed before its step goes on.
A storage that gathers events (`Gathers`) is told when they have to be in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from dagster import DagsterInstance

from kestra_dagster.executor.internals import (
    connect_as_before,
    connect_runs_by,
    pool_like,
    server_engine,
    sqlite_event_log,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from kestra_dagster.executor.internals import SqliteEventLogStorage

KEPT = 2
"""Connections to a server that stay open between events; more are opened as they are needed."""

KEPT_SECONDS = 30
"""An older one is opened anew: steps may be silent for longer than firewalls allow."""

BUSY_SECONDS = 30
"""How long SQLite waits for another process that writes."""

_lock = threading.Lock()
_engines: WeakKeyDictionary[SqliteEventLogStorage, dict[str, Engine]] = WeakKeyDictionary()


Flush = Callable[[], None]
"""Return when all events so far are in the database."""


@runtime_checkable
class Gathers(Protocol):
    """An event log that writes the events of a run together, where it is asked to."""

    def gathering(self, run_id: str) -> AbstractContextManager[Flush]:
        """Gather the events of a run for as long as the context lasts."""
        ...


@contextmanager
def event_log_of_run(instance: DagsterInstance, run_id: str) -> Iterator[Flush]:
    """Have the event log do what it can for a run; one of an unknown kind is left alone."""
    storage = instance.event_log_storage
    if isinstance(storage, Gathers):
        with storage.gathering(run_id) as flush:
            yield flush
    elif sqlite := sqlite_event_log(instance):
        with _kept_to_file(sqlite, run_id):
            yield _at_once
    elif engine := server_engine(instance):
        with _pooled(engine):
            yield _at_once
    else:
        yield _at_once


def _at_once() -> None:
    """Nothing to do: each event is in the database when its step goes on."""


@contextmanager
def _kept_to_file(storage: SqliteEventLogStorage, run_id: str) -> Iterator[None]:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import QueuePool

    engine = create_engine(
        storage.conn_string_for_shard(run_id),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    with _lock:
        engines = _engines.setdefault(storage, {})
        engines[run_id] = engine
        connect_runs_by(storage, engines)
    try:
        yield
    finally:
        with _lock:
            del engines[run_id]
            if not engines:
                connect_as_before(storage)
        engine.dispose()


@contextmanager
def _pooled(engine: Engine) -> Iterator[None]:
    """Put a pool in the place of none; it makes nobody wait, and checks before it lends."""
    from sqlalchemy.pool import NullPool

    before = engine.pool
    if type(before) is not NullPool:  # pooled by its owner, or by another run of this process
        yield
        return
    pool = pool_like(before, size=KEPT, recycle_seconds=KEPT_SECONDS)
    engine.pool = pool
    try:
        yield
    finally:
        engine.pool = before
        pool.dispose()
