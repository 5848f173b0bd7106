"""Signs of life of runs, in the instance's database: who has given none for a while is dead.

A process that is killed, or whose machine is gone, can say nothing. So the processes of runs say
that they live, every few seconds and by the clock of the database, and the daemon looks who does
not. A run that ends before its first sign costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from kestra_dagster.orchestration.database import database_url

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

BEAT_SECONDS = 3.0
RETRY_SECONDS = 1.0
"""How soon a sign is given again that the database did not take."""
SILENT_SECONDS = 20.0
"""A run that was not heard of for so long may be dead ..."""
CONFIRM_SECONDS = 7.0
"""... and is, if it gives no sign for two more beats: clocks jump, and databases restart."""
KEPT_SECONDS = 7 * 86400.0
"""Rows of runs that died unseen are deleted after so long."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of a run: how many there were, and how many seconds ago the last one was."""

    count: int
    age: float
    host: str


class Beats:
    """The table `kestra_beats` of a database; nothing is opened before the first use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._opened: tuple[Engine, Table] | None = None

    def begin(self, run_id: str, host: str) -> None:
        """Give the first sign of a run; one of an earlier process is forgotten."""
        engine, table = self._open()
        with engine.begin() as connection:
            connection.execute(table.delete().where(table.c.run_id == run_id))
            connection.execute(
                table.insert().values(run_id=run_id, beats=1, moment=_now(engine), host=host)
            )

    def beat(self, run_ids: Sequence[str], host: str) -> None:
        """Give a sign of each of the runs, its first one too."""
        engine, table = self._open()
        with engine.begin() as connection:
            for run_id in run_ids:
                change = table.update().where(table.c.run_id == run_id)
                values = {"beats": table.c.beats + 1, "moment": _now(engine)}
                if not connection.execute(change.values(values)).rowcount:
                    connection.execute(
                        table.insert().values(
                            run_id=run_id, beats=1, moment=_now(engine), host=host
                        )
                    )

    def end(self, run_id: str) -> None:
        """Forget a run."""
        engine, table = self._open()
        with engine.begin() as connection:
            connection.execute(table.delete().where(table.c.run_id == run_id))

    def all(self) -> dict[str, Beat]:
        """Return the last sign of each run; those of very long ago are deleted."""
        from sqlalchemy import select

        engine, table = self._open()
        with engine.begin() as connection:
            old = _now(engine) - KEPT_SECONDS
            connection.execute(table.delete().where(table.c.moment < old))
            rows = connection.execute(
                select(
                    table.c.run_id,
                    table.c.beats,
                    (_now(engine) - table.c.moment).label("age"),
                    table.c.host,
                )
            ).all()
        return {row.run_id: Beat(row.beats, float(row.age), row.host) for row in rows}

    def _open(self) -> tuple[Engine, Table]:
        with self._lock:
            if self._opened is None:
                self._opened = _open(self._url)
            return self._opened


@lru_cache(maxsize=8)
def beats_at(url: str) -> Beats:
    """Return the signs of life in a database; the process has one object for each."""
    return Beats(url)


def beats_of(instance: dg.DagsterInstance) -> Beats:
    """Return the signs of life of an instance's runs."""
    return beats_at(database_url(instance))


def _open(url: str) -> tuple[Engine, Table]:
    from sqlalchemy import BigInteger, Column, Float, MetaData, Table, Text

    from kestra_dagster.runtime.kv import create_tables, engine_of

    engine = engine_of(url, kept=1)
    table = Table(
        "kestra_beats",
        MetaData(),
        Column("run_id", Text, primary_key=True),
        Column("beats", BigInteger, nullable=False),
        Column("moment", Float(53), nullable=False),
        Column("host", Text, nullable=False),
    )
    create_tables(engine, table.metadata)
    return engine, table


def _now(engine: Engine) -> Any:
    """Return the seconds of the database's clock, as an expression."""
    from sqlalchemy import literal_column

    if engine.dialect.name == "postgresql":
        return literal_column("extract(epoch from clock_timestamp())::float8")
    return literal_column("(julianday('now') - 2440587.5) * 86400.0")


Stop = Callable[[], None]
Watch = tuple[Beats, Callable[[], bool], Stop]

_lock = threading.Lock()
_giving = threading.Lock()
"""Held while signs are written: no row of a run comes back that was deleted at its end."""
_beating: dict[str, Watch] = {}
_written: set[str] = set()
_thread: threading.Thread | None = None


@contextmanager
def beating(
    beats: Beats,
    run_id: str,
    *,
    unwanted: Callable[[], bool] = lambda: False,
    stop: Stop = lambda: None,
    at_once: bool = False,
) -> Iterator[None]:
    """Give signs of a run for the length of the block, from a thread that all runs here share.

    After each one `unwanted` says whether the run shall end, and `stop` is called if so. The first
    sign is given after some seconds, or `at_once`. A run that gives signs already is left alone.
    """
    global _thread
    with _lock:
        first = run_id not in _beating
        if first:
            _beating[run_id] = (beats, unwanted, stop)
    if not first:
        yield
        return
    try:
        if at_once:
            with _giving:
                beats.begin(run_id, host())
                _written.add(run_id)
        with _lock:
            if _thread is None:
                _thread = threading.Thread(target=_give_signs, name="signs of life", daemon=True)
                _thread.start()
        yield
    finally:
        with _lock:
            del _beating[run_id]
        with _giving:
            written = run_id in _written
            _written.discard(run_id)
            if written:
                _forget(beats, run_id)


def _forget(beats: Beats, run_id: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError):  # the row of a run that has ended is looked at by nobody
        beats.end(run_id)


def _give_signs() -> None:
    """Give signs of all runs that want it, and end once there is none."""
    global _thread
    pause = threading.Event()
    seconds = BEAT_SECONDS
    while True:
        pause.wait(seconds)
        with _lock:
            if not _beating:
                _thread = None
                return
            now = dict(_beating)
        seconds = BEAT_SECONDS if _gave_signs(now) else RETRY_SECONDS


def _gave_signs(runs: dict[str, Watch]) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    for beats in {beats for beats, _, _ in runs.values()}:
        with _giving:
            with _lock:
                run_ids = [one for one, watch in _beating.items() if watch[0] is beats]
            _written.update(run_ids)
            try:
                beats.beat(run_ids, host())
            except SQLAlchemyError:  # the database is away for now
                return False
    for _, unwanted, stop in runs.values():
        try:
            if unwanted():
                stop()
        except Exception:  # Dagster's storages raise what they like; the next beat asks again
            return False
    return True


def host() -> str:
    """Return what this process is called in the signs that it gives."""
    import os
    import socket

    return f"{socket.gethostname()}, process {os.getpid()}"


class Watcher:
    """Tells the runs that have died, for one who asks again and again."""

    def __init__(self, beats: Beats, sleep: Callable[[float], None] = time.sleep) -> None:
        self._beats = beats
        self._sleep = sleep
        self._dead: dict[str, Beat | None] = {}
        self._known_until = 0.0

    def last_sign(self, run_id: str, running_for: float) -> tuple[bool, Beat | None]:
        """Say whether a run lives that began so many seconds ago, and what its last sign was.

        Where some run was silent for long, this waits for more signs of all before it says so.
        """
        beat = self._beats.all().get(run_id)
        silent = beat.age if beat else running_for
        if abs(silent) < SILENT_SECONDS:  # a sign of the future: a clock was put back
            return True, beat
        if time.monotonic() > self._known_until or run_id not in self._dead:
            before = self._beats.all()
            self._sleep(CONFIRM_SECONDS)
            after = self._beats.all()
            self._dead = {one: sign for one, sign in after.items() if same(before.get(one), sign)}
            if run_id not in after and run_id not in before:
                self._dead[run_id] = None
            self._known_until = time.monotonic() + CONFIRM_SECONDS
        return run_id not in self._dead, beat


def same(before: Beat | None, after: Beat) -> bool:
    """Say whether no sign was given between two looks."""
    return before is not None and before.count == after.count
