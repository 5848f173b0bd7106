"""Delete what old runs said, and keep the history of assets and how each run ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy as db
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster_postgres import PostgresEventLogStorage

from kestra_dagster.errors import TerminalError
from kestra_dagster.executor.internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
LAST_WORDS = {
    DagsterEventType.RUN_SUCCESS,
    DagsterEventType.RUN_FAILURE,
    DagsterEventType.RUN_CANCELED,
}
KEPT = sorted(kind.value for kind in ASSET_EVENTS | ASSET_CHECK_EVENTS | LAST_WORDS)
"""Kinds of events that stay: all that assets and their checks are shown by, and the last one."""

RUNS_AT_ONCE = 100
ROWS_AT_ONCE = 2000
"""A statement deletes so many rows, and is committed: nobody waits for it for long."""

LONGEST_PAUSE = 0.5

_table = SqlEventLogStorageTable.c


@dataclass(frozen=True)
class Purged:
    """How many runs were looked at, how many of them had rows to delete, and how many rows."""

    looked_at: int = 0
    runs: int = 0
    rows: int = 0


def purge(
    instance: DagsterInstance,
    ended_before: datetime,
    *,
    dry_run: bool = False,
    tell: Callable[[Purged], None] = lambda _: None,
) -> Purged:
    """Delete the event rows of runs that ended before a time; `tell` hears how far it has come.

    Runs themselves stay, with their tags and their state. It can be interrupted at any time, and
    started again; with `dry_run` it only counts. Between statements it gives way to others.
    """
    log = instance.event_log_storage
    if isinstance(log, SqliteEventLogStorage):
        at_once, file_of = 1, lambda run_id: Path(log.path_for_shard(run_id))
    elif isinstance(log, PostgresEventLogStorage):
        at_once, file_of = RUNS_AT_ONCE, lambda run_id: None
    else:
        raise TerminalError(
            f"purge knows event logs on Postgres and SQLite, and this is `{type(log).__name__}`"
        )
    done = Purged()
    for run_ids in _old_runs(instance, ended_before.astimezone(timezone.utc), at_once):
        runs = rows = 0
        file = file_of(run_ids[0])
        if file is None or file.exists():
            runs, rows = _count(log, run_ids)
        if rows and not dry_run:
            _delete(log, run_ids)
            if file:
                _shrink(file)
        done = Purged(done.looked_at + len(run_ids), done.runs + runs, done.rows + rows)
        tell(done)
    return done


def _old_runs(
    instance: DagsterInstance, ended_before: datetime, at_once: int
) -> Iterator[Sequence[str]]:
    cursor = None
    # nothing happened to it since: cheaper to ask than when it ended, which is looked at below
    old = RunsFilter(statuses=list(ENDED), updated_before=ended_before)
    while records := instance.get_run_records(
        old, limit=RUNS_AT_ONCE, cursor=cursor, ascending=True
    ):
        cursor = records[-1].dagster_run.run_id
        run_ids = [
            record.dagster_run.run_id
            for record in records
            if (record.end_time or 0) < ended_before.timestamp()
        ]
        for begin in range(0, len(run_ids), at_once):
            yield run_ids[begin : begin + at_once]


def _goes(run_ids: Sequence[str]) -> db.ColumnElement[bool]:
    kind = _table.dagster_event_type
    return db.and_(_table.run_id.in_(run_ids), db.or_(kind.is_(None), kind.not_in(KEPT)))


def _count(
    log: SqliteEventLogStorage | PostgresEventLogStorage, run_ids: Sequence[str]
) -> tuple[int, int]:
    """Return how many of these runs have rows to delete, and how many rows."""
    asked = db.select(db.func.count(db.distinct(_table.run_id)), db.func.count())
    with log.run_connection(run_ids[0]) as connection:
        runs, rows = connection.execute(asked.where(_goes(run_ids))).one()
    return runs, rows


def _delete(log: SqliteEventLogStorage | PostgresEventLogStorage, run_ids: Sequence[str]) -> None:
    some = db.select(_table.id).where(_goes(run_ids)).limit(ROWS_AT_ONCE)
    statement = SqlEventLogStorageTable.delete().where(_table.id.in_(some))
    while True:
        started = time.monotonic()
        with log.run_connection(run_ids[0]) as connection:
            deleted = connection.execute(statement).rowcount
        if deleted < ROWS_AT_ONCE:
            return
        time.sleep(min(time.monotonic() - started, LONGEST_PAUSE))


def _shrink(file: Path) -> None:
    """Give the space of deleted rows back; SQLite keeps it in the file otherwise."""
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.execute("VACUUM")
