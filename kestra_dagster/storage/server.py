"""One Postgres as a process sees it: a pool of connections, and patience when it restarts."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from dagster_postgres.utils import create_pg_engine, set_pg_statement_timeout
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from kestra_dagster.errors import RetryableError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

KEPT = 2
"""Connections that stay open in a process; more are opened as they are needed."""

KEPT_SECONDS = 60
"""An older one is opened anew: firewalls forget connections that say nothing."""

PATIENCE_SECONDS = 60.0
"""How long a run waits for a server that is gone; a restart takes some seconds."""

PATIENCE_AT_FIRST = 8.0
"""The same for the first connection of a process, where a wrong address is more likely."""

PATIENCE_OF_A_PAGE = 5.0
"""The same in the web server, where a person waits."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

NOT_BY_WAITING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "password")

_servers: WeakSet[Server] = WeakSet()


class ServerGone(RetryableError):
    """The Postgres of the instance did not answer for as long as one waits for it."""


class Server:
    """A pool of connections to `url`, shared by the storages of an instance; thread-safe.

    Connections commit each statement by itself. They are tested before they are lent, and opened
    anew when the server has gone away in between. A process forked from this one makes its own.
    """

    def __init__(self, url: str, token_provider: Any = None) -> None:
        self.url = with_driver(url)
        self.token_provider = token_provider
        self._patience = PATIENCE_AT_FIRST
        self._nested = threading.local()
        self._lock = threading.Lock()
        self._limited: Engine | None = None
        self.engine = self._pooled(KEPT_SECONDS)
        _servers.add(self)

    def _pooled(self, recycle_seconds: int) -> Engine:
        return create_pg_engine(
            self.url,
            self.token_provider,
            isolation_level="AUTOCOMMIT",
            poolclass=QueuePool,
            pool_size=KEPT,
            max_overflow=-1,
            pool_recycle=recycle_seconds,
            pool_pre_ping=True,
        )

    def limit(self, statement_timeout: int, recycle_seconds: int) -> Engine:
        """Give statements so many milliseconds, as the web server wants it."""
        with self._lock:
            if self._limited is None:
                self.engine.dispose()
                self._limited = self.engine = self._pooled(recycle_seconds)
                event.listen(
                    self.engine,
                    "connect",
                    lambda connection, _: set_pg_statement_timeout(connection, statement_timeout),
                )
                self._patience = PATIENCE_OF_A_PAGE
            return self._limited

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; wait for a server that is just not there."""
        connection = self.retried(lambda: self.engine.connect())
        with connection:
            if self._patience == PATIENCE_AT_FIRST:
                self._patience = PATIENCE_SECONDS
            yield connection

    def retried(self, do: Callable[[], T], *, alone: bool = False) -> T:
        """Do what may be done twice, again as long as the server goes away meanwhile.

        Raise ServerGone when it stays away, and other errors as they are. Inside another call the
        outer one tries again, unless this is to be tried again `alone`.
        """
        outer = getattr(self._nested, "inside", False)
        if outer and not alone:
            return do()
        self._nested.inside = True
        try:
            return self._until_answered(do)
        finally:
            self._nested.inside = outer

    def _until_answered(self, do: Callable[[], T]) -> T:
        started, pause, told = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                done = do()
            except DBAPIError as error:
                if not is_gone(error):
                    raise
                waited = time.monotonic() - started
                if waited >= self._patience:
                    raise ServerGone(
                        f"the Postgres of this Dagster instance has not answered for {waited:.0f} s"
                        f" ({self.place}): {first_line(error)}"
                    ) from error
                if not told:
                    # not by `logging`: a run's log would want to write it to this very server
                    say(f"Waiting for Postgres ({self.place}): {first_line(error)}")
                    told = True
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if told:
                    say(f"Postgres answers again after {time.monotonic() - started:.1f} s.")
                return done

    @property
    def place(self) -> str:
        """Where the server is, without a word of credentials."""
        url = self.engine.url
        host = url.host or url.query.get("host") or "local socket"
        return f"{host}{f':{url.port}' if url.port else ''}, database {url.database}"

    def dispose(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    def forked(self) -> None:
        """Forget the parent's connections, without closing them for it."""
        self.engine.dispose(close=False)


def with_driver(url: str) -> str:
    """Name the driver that dagster-postgres comes with: a bare `postgresql://` may mean another."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg2://{url[len(scheme) :]}"
    return url


def is_gone(error: DBAPIError) -> bool:
    """Say whether an error means that the server went away, so that waiting may help."""
    if error.connection_invalidated:
        return True
    # while connecting there is no connection to tell by, and no code: only the server's words
    text = str(error.orig)
    if error.statement is not None or any(word in text for word in NOT_BY_WAITING):
        return False
    return isinstance(error, (OperationalError, InterfaceError))


def first_line(error: DBAPIError) -> str:
    """Return what the driver said, in a line."""
    return " ".join(str(error.orig).split())


def say(text: str) -> None:
    """Tell whoever looks at the process."""
    sys.stderr.write(f"{text}\n")


def _forked() -> None:
    for server in list(_servers):
        server.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
