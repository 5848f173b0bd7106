"""A server that goes away for a moment is waited for: the database of an instance, its S3."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from kestra_dagster.errors import RetryableError

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a run waits for a server that is gone; a restart takes some seconds."""

PATIENCE_AT_FIRST = 8.0
"""The same for the first connection of a process, where a wrong address is more likely."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

NOT_BY_WAITING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "password")

DISK_FULL = "53100"
"""What Postgres says (SQLSTATE) when it could not write: nothing of the transaction is there."""


class ServerGone(RetryableError):
    """A server of the instance did not answer for as long as one waits for it."""


def why_gone(error: Exception) -> str | None:
    """Say what a database driver said of a server that went away; None for another error."""
    from sqlalchemy.exc import DBAPIError

    return first_line(error) if isinstance(error, DBAPIError) and is_gone(error) else None


@dataclass(eq=False)
class Patience:
    """How long the users of a server wait for it; thread-safe. `place` has no credentials in it.

    `gone` says of an error why it means that the server went away; None if it does not.
    """

    place: str
    seconds: float = field(default_factory=lambda: PATIENCE_AT_FIRST)
    server: str = "Postgres"
    gone: Callable[[Exception], str | None] = why_gone
    _nested: threading.local = field(default_factory=threading.local)

    def answered(self) -> None:
        """Note that the server was there: from now on it is worth waiting for longer."""
        if self.seconds == PATIENCE_AT_FIRST:
            self.seconds = PATIENCE_SECONDS

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
            except Exception as error:
                why = self.gone(error)
                if why is None:
                    raise
                waited = time.monotonic() - started
                if waited >= self.seconds:
                    raise ServerGone(
                        f"the {self.server} of this Dagster instance has not answered for "
                        f"{waited:.0f} s ({self.place}): {why}"
                    ) from error
                if not told:
                    # not by `logging`: a run's log would want to write it to this very server
                    say(f"Waiting for {self.server} ({self.place}): {why}")
                    told = True
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if told:
                    say(f"{self.server} answers again after {time.monotonic() - started:.1f} s.")
                return done


def place_of(url: str) -> str:
    """Say where a server is, without a word of credentials."""
    from sqlalchemy.engine import make_url

    parts = make_url(url)
    host = parts.host or parts.query.get("host") or "local socket"
    return f"{host}{f':{parts.port}' if parts.port else ''}, database {parts.database}"


def is_gone(error: DBAPIError) -> bool:
    """Say whether an error means that the server went away or is full, so that waiting may help."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    if error.connection_invalidated or getattr(error.orig, "pgcode", None) == DISK_FULL:
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
