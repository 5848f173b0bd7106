"""One Postgres as a process sees it: a pool of connections, and patience when it restarts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from dagster_postgres.utils import create_pg_engine, set_pg_statement_timeout
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from kestra_dagster.runtime.patience import Patience, place_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

KEPT = 2
"""Connections that stay open in a process; more are opened as they are needed."""

KEPT_SECONDS = 60
"""An older one is opened anew: firewalls forget connections that say nothing."""

PATIENCE_OF_A_PAGE = 5.0
"""The same in the web server, where a person waits."""

_servers: WeakSet[Server] = WeakSet()


class Server:
    """A pool of connections to `url`, shared by the storages of an instance; thread-safe.

    Connections commit each statement by itself. They are tested before they are lent, and opened
    anew when the server has gone away in between. A process forked from this one makes its own.
    """

    def __init__(self, url: str, token_provider: Any = None) -> None:
        self.url = with_driver(url)
        self.token_provider = token_provider
        self._patience = Patience(place_of(self.url))
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
                self._patience.seconds = PATIENCE_OF_A_PAGE
            return self._limited

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; wait for a server that is just not there."""
        connection = self.retried(lambda: self.engine.connect())
        with connection:
            self._patience.answered()
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection whose statements are committed together, at the end of the block."""
        with self.connection() as lent:
            connection = lent.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

    def retried(self, do: Callable[[], T], *, alone: bool = False) -> T:
        """Do what may be done twice, as `Patience.retried` does."""
        return self._patience.retried(do, alone=alone)

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


def _forked() -> None:
    for server in list(_servers):
        server.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
