"""Connections to the event log that outlive the single event, for as long as a run lasts.

Dagster opens and closes a connection for each event, and that is most of what a short step costs:
on SQLite the last one to close a database writes its log back and deletes it, on Postgres each
connection is a process of the server. Every event is still committed before its step goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING
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
    from contextlib import AbstractContextManager

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


def kept_connections(instance: DagsterInstance, run_id: str) -> AbstractContextManager[None]:
    """Keep connections of the run's event log open; a storage of an unknown kind is left alone."""
    if storage := sqlite_event_log(instance):
        return _kept_to_file(storage, run_id)
    if engine := server_engine(instance):
        return _pooled(engine)
    return nullcontext()


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
