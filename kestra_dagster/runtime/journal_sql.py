"""Journals in the Postgres of an instance, for workers that share no folder.

A row holds lines of one part of one run that were written together. Lines of steps are gathered for
a moment, as events are (runtime/gathered.py); a step settles them before it says that it ended.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from kestra_dagster.runtime.gathered import Gathered, Row
from kestra_dagster.runtime.journal import StoreUnwritable, decoded, encoded, unwritable
from kestra_dagster.runtime.kv import create_tables, engine_of
from kestra_dagster.runtime.patience import Patience, ServerGone, place_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Select, Table

T = TypeVar("T")

_WRITE = """
INSERT INTO kestra_journal (once, run, part, lines)
SELECT once, run, part, lines
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[])
    WITH ORDINALITY AS given (once, run, part, lines, place)
ORDER BY place
ON CONFLICT DO NOTHING
"""
"""Rows come twice where the answer got lost, and then with the same names (`once`)."""

_open_ones: WeakSet[SqlJournals] = WeakSet()


class SqlJournals:
    """The journals in the table `kestra_journal` of a Postgres; opened at the first use.

    Thread-safe. A server that restarts is waited for, and what it may have taken is not written
    twice. A process forked from this one makes connections of its own.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: tuple[Engine, Table] | None = None
        self._writer: Gathered | None = None
        self._patience: Patience | None = None
        _open_ones.add(self)

    def of(self, run_id: str) -> SqlJournal:
        return SqlJournal(self, run_id)

    def runs(self, prefix: str = "") -> list[str]:
        def query(table: Table) -> Select[Any]:
            runs = table.select().with_only_columns(table.c.run).distinct()
            return runs.where(table.c.run.startswith(prefix, autoescape=True)).order_by(table.c.run)

        return [row.run for row in self.rows(query)]

    def firsts(self, step_key: str) -> Iterator[dict[str, Any]]:
        def query(table: Table) -> Select[Any]:
            from sqlalchemy import func, select

            first = select(func.min(table.c.number)).where(table.c.part == step_key)
            return (
                table.select()
                .where(table.c.number.in_(first.group_by(table.c.run)))
                .order_by(table.c.run)
            )

        for row in self.rows(query):
            yield from decoded(row.lines.partition("\n")[0].encode())

    def add(self, run_id: str, step_key: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take lines; they are written soon, and together."""
        text = b"".join(encoded(line) for line in lines).decode()
        if text:
            row = {"once": uuid.uuid4().hex, "run": run_id, "part": step_key, "lines": text}
            self._writing().add(row)

    def flush(self) -> None:
        """Return when all that was added before is written."""
        if self._writer is not None:
            self._writer.flush()

    def rows(self, query: Callable[[Table], Select[Any]]) -> Sequence[Any]:
        """Return what a query finds, with all that this process has added."""
        self.flush()
        return self.done(lambda connection, table: connection.execute(query(table)).all())

    def done(self, do: Callable[[Connection, Table], T]) -> T:
        """Do what may be done twice; wait for a server that is not there.

        Each statement is committed by itself: a step that waits for its lines waits for one answer.
        """

        def attempt() -> T:
            engine, table = self._open()
            with engine.connect() as connection:
                return do(connection, table)

        with self._lock:
            patience = self._patience = self._patience or Patience(place_of(self._url))
        done = patience.retried(attempt)
        patience.answered()
        return done

    def unwritable(self, step_key: str, error: ServerGone) -> StoreUnwritable:
        """Return the error that says what of a run could not be kept."""
        return unwritable(step_key, place_of(self._url), str(error), "see that Postgres answers")

    def _writing(self) -> Gathered:
        with self._lock:
            if self._writer is None:
                self._writer = Gathered(self._write, lambda row: len(row["lines"]))
                self._writer.begin()
            return self._writer

    def _write(self, rows: Sequence[Row]) -> None:
        columns: tuple[list[str], ...] = ([], [], [], [])
        for (run, part), group in groupby(rows, key=lambda row: (row["run"], row["part"])):
            some = list(group)
            text = "".join(row["lines"] for row in some)
            for column, value in zip(columns, (some[0]["once"], run, part, text), strict=True):
                column.append(value)
        self.done(lambda connection, _: connection.exec_driver_sql(_WRITE, columns))

    def _open(self) -> tuple[Engine, Table]:
        with self._lock:
            if self._opened is None:
                self._opened = _opened(self._url)
            return self._opened

    def forked(self) -> None:
        """Forget what belongs to the parent, without closing it for it."""
        self._lock = threading.Lock()
        opened, self._opened, self._writer = self._opened, None, None
        if opened is not None:
            opened[0].dispose(close=False)


class SqlJournal:
    """The journal of one run (runtime/journal.py)."""

    def __init__(self, journals: SqlJournals, run_id: str) -> None:
        self._journals = journals
        self._run = run_id

    def append(self, step_key: str, line: Mapping[str, Any]) -> None:
        self._append(step_key, [line], at_once=step_key.startswith("_"))

    def append_all(self, step_key: str, lines: Iterable[Mapping[str, Any]]) -> None:
        self._append(step_key, lines, at_once=True)

    def _append(self, step_key: str, lines: Iterable[Mapping[str, Any]], *, at_once: bool) -> None:
        try:
            self._journals.add(self._run, step_key, lines)
            if at_once:
                self._journals.flush()
        except ServerGone as error:
            raise self._journals.unwritable(step_key, error) from error

    def settle(self) -> None:
        try:
            self._journals.flush()
        except ServerGone as error:
            raise self._journals.unwritable("_execution", error) from error

    def read(self, step_key: str) -> Iterator[dict[str, Any]]:
        def query(table: Table) -> Select[Any]:
            own = table.select().where(table.c.run == self._run, table.c.part == step_key)
            return own.order_by(table.c.number)

        for row in self._journals.rows(query):
            yield from decoded(row.lines.encode())

    def read_all(self, *, but: str | None = None) -> Iterator[dict[str, Any]]:
        def query(table: Table) -> Select[Any]:
            own = table.select().where(table.c.run == self._run)
            own = own.where(table.c.part != but) if but else own
            return own.order_by(table.c.part, table.c.number)

        for row in self._journals.rows(query):
            yield from decoded(row.lines.encode())

    def tail(self, *, but: str) -> Callable[[], list[dict[str, Any]]]:
        seen: set[int] = set()
        below = 0

        def new_lines() -> list[dict[str, Any]]:
            nonlocal seen, below

            def query(table: Table) -> Select[Any]:
                own = table.select().where(table.c.run == self._run, table.c.part != but)
                return own.where(table.c.number > below).order_by(table.c.number)

            rows = [row for row in self._journals.rows(query) if row.number not in seen]
            # What another process numbered earlier may be written later: looked for once more.
            below = max(seen, default=below)
            seen = {row.number for row in rows}
            return [line for row in rows for line in decoded(row.lines.encode())]

        return new_lines

    def rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
        self._journals.flush()

        gone = 0

        def do(connection: Connection, table: Table) -> None:
            nonlocal gone
            own = table.select().where(table.c.run == self._run)
            for row in connection.execute(own).all():
                lines = list(decoded(row.lines.encode()))
                kept = [line for line in lines if keep(line)]
                this = table.c.number == row.number
                if not kept:
                    connection.execute(table.delete().where(this))
                elif len(kept) < len(lines):
                    text = b"".join(encoded(line) for line in kept).decode()
                    connection.execute(table.update().where(this).values(lines=text))
                gone += len(lines) - len(kept)

        self._journals.done(do)
        return gone

    def close(self) -> None:
        self.settle()

    def delete(self) -> None:
        self._journals.flush()
        self._journals.done(
            lambda connection, table: connection.execute(
                table.delete().where(table.c.run == self._run)
            )
        )


def _opened(url: str) -> tuple[Engine, Table]:
    from sqlalchemy import BigInteger, Column, Identity, Index, MetaData, Table, Text

    engine, metadata = engine_of(url, kept=1, tested=False), MetaData()
    engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    table = Table(
        "kestra_journal",
        metadata,
        Column("number", BigInteger, Identity(), primary_key=True),
        Column("once", Text, nullable=False, unique=True),
        Column("run", Text, nullable=False),
        Column("part", Text, nullable=False),
        Column("lines", Text, nullable=False),
    )
    Index("kestra_journal_parts", table.c.run, table.c.part, table.c.number)
    create_tables(engine, metadata)
    return engine, table


@lru_cache(maxsize=8)
def sql_journals(url: str) -> SqlJournals:
    """Return the journals of a database; the process has one object for each."""
    return SqlJournals(url)


def _forked() -> None:
    for journals in list(_open_ones):
        journals.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
