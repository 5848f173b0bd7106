"""What triggers keep in the database of an instance.

`kestra_changes` tells every change of state of every execution. `kestra_starts` holds the
executions that triggers asked for, until and after a run takes each. `kestra_memory` is what
triggers remember: windows, dates, how far changes were looked at.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from kestra_dagster.orchestration.trigger_rows import (
    Asked,
    Recorded,
    Tables,
    asked_of,
    insert_change,
    is_recorded,
    open_tables,
    payload_of,
    recorded,
)
from kestra_dagster.runtime.patience import Patience, place_of
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.triggers.conditions import ExecutionFacts
from kestra_dagster.triggers.starts import Start

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

T = TypeVar("T")

_WRITERS = 0x6B657374
"""Postgres's advisory lock that a writer of changes shares, and a reader holds for a moment."""
_WORKERS = 0x6B657375
"""Postgres's advisory lock of whoever decides what starts: one at a time in the instance."""


class TriggerStore:
    """The tables of triggers in a database (SQLite or Postgres); opened at the first use.

    A Postgres that restarts is waited for, and what it may have done before its answer got lost is
    not done twice.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: tuple[Engine, Tables] | None = None
        self._patience: Patience | None = None

    def record(self, facts: ExecutionFacts, at: datetime, runs: Sequence[str]) -> None:
        """Record that an execution went over to the state of `facts`."""
        tried = False

        def write(connection: Connection, tables: Tables) -> None:
            nonlocal tried
            _begin(connection, _WRITERS, shared=True)
            if not tried or not is_recorded(connection, tables.changes, facts, at):
                tried = True
                insert_change(connection, tables.changes, facts, at, runs)
            connection.commit()

        self._done(write)

    def ended(self, execution_ids: Iterable[str], states: Sequence[str]) -> set[str]:
        """Return which executions were recorded in one of the states."""

        def read(connection: Connection, tables: Tables) -> set[str]:
            changes = tables.changes
            query = (
                changes.select()
                .with_only_columns(changes.c.execution)
                .where(changes.c.execution.in_(list(execution_ids)), changes.c.state.in_(states))
            )
            return set(connection.execute(query).scalars())

        return self._done(read)

    def newest(self) -> int:
        """Return the number up to which no change can still be on its way."""
        from sqlalchemy import func, select

        def read(connection: Connection, tables: Tables) -> int:
            _begin(connection, _WRITERS)
            number = connection.execute(select(func.max(tables.changes.c.number))).scalar()
            connection.commit()
            return number or 0

        return self._done(read)

    def glance(self, now: datetime) -> tuple[int, int]:
        """Return two numbers that change when there may be something to decide or to ask for."""
        from sqlalchemy import func, select

        def read(connection: Connection, tables: Tables) -> tuple[int, int]:
            changes, starts = tables.changes, tables.starts
            due = starts.c.run.is_(None) & starts.c.ended.is_(None)
            due &= starts.c.created <= now.timestamp()
            number = connection.execute(select(func.max(changes.c.number))).scalar()
            waiting = connection.execute(select(func.count()).select_from(starts).where(due))
            return number or 0, waiting.scalar() or 0

        return self._done(read)

    @contextmanager
    def work(self) -> Iterator[Work]:
        """Hold the only place from where starts are decided; all that is done is done at once.

        The server is waited for at the beginning. Where it goes away later nothing of it is done,
        and the error is raised: what was to be decided is still there to be decided.
        """

        def begun() -> Connection:
            connection = self._open()[0].connect()
            try:
                _begin(connection, _WORKERS)
            except BaseException:
                connection.close()
                raise
            return connection

        with self._patiently(begun) as connection:
            yield Work(connection, self._open()[1])
            connection.commit()

    def claim(self, key: str, run_ids: Sequence[str]) -> Asked | None:
        """Take a start for an execution of these runs, the newest last; None if others have it."""

        def take(connection: Connection, tables: Tables) -> Asked | None:
            starts = tables.starts
            _begin(connection, _WORKERS)
            row = connection.execute(starts.select().where(starts.c.key == key)).one_or_none()
            if row is None or (row.run is not None and row.run not in run_ids):
                return None
            if row.run is None:
                taken = starts.update().where(starts.c.key == key).values(run=run_ids[0])
                connection.execute(taken)
                connection.commit()
            return asked_of(row)

        return self._done(take)

    def asked(self, key: str) -> Asked | None:
        """Return a start by its key."""

        def read(connection: Connection, tables: Tables) -> Asked | None:
            starts = tables.starts
            row = connection.execute(starts.select().where(starts.c.key == key)).one_or_none()
            return None if row is None else asked_of(row)

        return self._done(read)

    def add(self, start: Start, trigger: str, at: datetime) -> None:
        """Keep a start that is to be taken up from a moment on."""
        self._worked(lambda work: work.add(start, trigger, at))

    def take(self, key: str, run_id: str) -> None:
        """Say which run has taken a start."""
        self._worked(lambda work: work.take(key, run_id))

    def end(self, key: str, state: str) -> None:
        """Say in which state the execution of a start ended."""
        self._worked(lambda work: work.end(key, state))

    def _worked(self, do: Callable[[Work], object]) -> None:
        """Do a piece of work that may be done twice."""

        def attempt() -> None:
            with self.work() as work:
                do(work)

        self._patiently(attempt)

    def _done(self, do: Callable[[Connection, Tables], T]) -> T:
        """Do on a connection what may be done twice; what is not committed is taken back."""

        def attempt() -> T:
            engine, tables = self._open()
            with engine.connect() as connection:
                return do(connection, tables)

        return self._patiently(attempt)

    def _patiently(self, do: Callable[[], T]) -> T:
        if self._url.startswith("sqlite"):
            return do()
        with self._lock:
            patience = self._patience = self._patience or Patience(place_of(self._url))
        done = patience.retried(do)
        patience.answered()
        return done

    def _open(self) -> tuple[Engine, Tables]:
        with self._lock:
            if self._opened is None:
                self._opened = open_tables(self._url)
                weakref.finalize(self, self._opened[0].dispose)
            return self._opened


@lru_cache(maxsize=8)
def trigger_store(url: str) -> TriggerStore:
    """Return the store of a database, one for the whole process."""
    return TriggerStore(url)


class Work:
    """One piece of work on the tables; nothing of it is seen by others before its end."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what is remembered under a key."""
        memory = self._tables.memory
        text = self._connection.execute(
            memory.select().with_only_columns(memory.c.value).where(memory.c.key == key)
        ).scalar()
        return None if text is None else json.loads(text)

    def many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what is remembered under some keys."""
        memory = self._tables.memory
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(keys), 500):
            query = memory.select().where(memory.c.key.in_(keys[first : first + 500]))
            rows = self._connection.execute(query)
            found |= {row.key: json.loads(row.value) for row in rows}
        return found

    def put(self, key: str, value: Mapping[str, Any] | None) -> None:
        """Remember a value under a key, None to forget."""
        memory = self._tables.memory
        at = memory.c.key == key
        if value is None:
            self._connection.execute(memory.delete().where(at))
            return
        text = json.dumps(jsonable(value))
        changed = self._connection.execute(memory.update().where(at).values(value=text))
        if not changed.rowcount:
            self._connection.execute(memory.insert().values(key=key, value=text))

    def changes(self, after: int, until: int, limit: int) -> list[Recorded]:
        """Return the changes between two numbers, at most `limit` of them."""
        changes = self._tables.changes
        query = (
            changes.select()
            .where(changes.c.number > after, changes.c.number <= until)
            .order_by(changes.c.number)
            .limit(limit)
        )
        return [recorded(row) for row in self._connection.execute(query)]

    def forget_changes(self, before: datetime) -> None:
        """Delete changes that are older than a moment."""
        changes = self._tables.changes
        self._connection.execute(changes.delete().where(changes.c.at < before.timestamp()))

    def record(self, facts: ExecutionFacts, at: datetime, runs: Sequence[str]) -> None:
        """Record a change of state that its execution could not record itself."""
        insert_change(self._connection, self._tables.changes, facts, at, runs)

    def add(self, start: Start, trigger: str, at: datetime) -> bool:
        """Keep a start that is due at a moment, unless it is known; say whether it is new."""
        starts = self._tables.starts
        known = starts.select().with_only_columns(starts.c.key).where(starts.c.key == start.key)
        if self._connection.execute(known).one_or_none() is not None:
            return False
        self._connection.execute(
            starts.insert().values(
                key=start.key,
                trigger=trigger,
                namespace=start.namespace,
                flow=start.flow_id,
                created=at.timestamp(),
                payload=json.dumps(payload_of(start)),
            )
        )
        return True

    def waiting(self, now: datetime) -> list[Asked]:
        """Return the starts whose time has come and that no run has taken, the oldest first."""
        starts = self._tables.starts
        open_ = starts.c.run.is_(None) & starts.c.ended.is_(None)
        query = starts.select().where(open_, starts.c.created <= now.timestamp())
        return [asked_of(row) for row in self._connection.execute(query.order_by(starts.c.created))]

    def active(self, trigger: str, final: Sequence[str] = ()) -> bool:
        """Say whether an execution of a trigger has not ended.

        One that was heard to be in a `final` state has, even if its end was not looked at yet.
        """
        starts, changes = self._tables.starts, self._tables.changes
        query = starts.select().with_only_columns(starts.c.run)
        query = query.where(starts.c.trigger == trigger, starts.c.ended.is_(None))
        runs = list(self._connection.execute(query).scalars())
        if not final or None in runs or not runs:
            return bool(runs)
        heard = changes.select().with_only_columns(changes.c.execution)
        heard = heard.where(changes.c.execution.in_(runs), changes.c.state.in_(list(final)))
        return bool(set(runs) - set(self._connection.execute(heard).scalars()))

    def running(self) -> list[Asked]:
        """Return the starts that a run has taken and that have not ended."""
        starts = self._tables.starts
        query = starts.select().where(starts.c.run.is_not(None), starts.c.ended.is_(None))
        return [asked_of(row) for row in self._connection.execute(query)]

    def of_run(self, run_ids: Sequence[str]) -> Asked | None:
        """Return the start that one of some runs has taken."""
        starts = self._tables.starts
        query = starts.select().where(starts.c.run.in_(list(run_ids))).limit(1)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else asked_of(row)

    def take(self, key: str, run_id: str) -> None:
        """Say which run has taken a start."""
        starts = self._tables.starts
        at = (starts.c.key == key) & starts.c.run.is_(None)
        self._connection.execute(starts.update().where(at).values(run=run_id))

    def end(self, key: str, state: str) -> None:
        """Say in which state the execution of a start ended."""
        starts = self._tables.starts
        self._connection.execute(
            starts.update().where(starts.c.key == key).values(ended=state)
        )  # fmt: skip

    def forget_starts(self, before: datetime) -> None:
        """Delete starts that ended and are older than a moment."""
        starts = self._tables.starts
        old = (starts.c.created < before.timestamp()) & starts.c.ended.is_not(None)
        self._connection.execute(starts.delete().where(old))


def _begin(connection: Connection, lock: int, *, shared: bool = False) -> None:
    """Begin a transaction that holds a lock until its end; SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    name = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    connection.exec_driver_sql(f"SELECT {name}({lock})")
