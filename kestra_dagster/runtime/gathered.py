"""Events that wait to be written together: in order, soon, and before anybody relies on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kestra_dagster.runtime.patience import PATIENCE_SECONDS, ServerGone

Row = Mapping[str, Any]

LATEST_SECONDS = 0.05
"""How long a row waits at most before it is written; the write itself comes on top."""

MOST_ROWS = 500
"""So many are written by one statement; when as many wait, they are written at once."""

MOST_CHARACTERS = 4_000_000
"""A statement of more is split, down to one row each."""

MOST_WAITING = 20_000
"""More than these do not fit: whoever adds one waits until the database takes some."""

BACKOFF_SECONDS = 1.0
"""Between attempts in the background when the database does not take them."""


class Gathered:
    """Rows on their way to a table; any thread adds, and any thread may have them written.

    What was added first is written first. A row is gone from here when `write` returned. `write`
    gets up to `MOST_ROWS`, takes all or none of them, and is called by one thread at a time; when
    it raised, it gets the same rows again and no others, so that it can tell whether it took them.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Row]], None],
        characters: Callable[[Row], int] = lambda _: 0,
    ) -> None:
        self._write = write
        self._characters = characters
        self._rows: list[Row] = []
        self._room = threading.Condition()
        self._turn = threading.Lock()
        self._due = threading.Event()
        self._at_once = threading.Event()
        self._refused = 0
        self._users = 0
        self._thread: threading.Thread | None = None
        self._inside = threading.local()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def begin(self) -> None:
        """Have a thread see to it that no row waits for long, until as many `end`."""
        with self._room:
            self._users += 1
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._see_to_it, name="event writer", daemon=True
                )
                self._thread.start()

    def end(self) -> None:
        """Write what waits; raise what keeps it from being written."""
        try:
            self.flush()
        finally:
            with self._room:
                self._users -= 1
                if not self._users:
                    self._thread = None
                    self._due.set()
                    self._at_once.set()

    def add(self, row: Row) -> None:
        """Take a row; it is written by the next `flush`, or soon."""
        with self._room:
            if not self._room.wait_for(lambda: len(self._rows) < MOST_WAITING, PATIENCE_SECONDS):
                raise ServerGone(f"{MOST_WAITING} events wait for a database that takes none")
            self._rows.append(row)
            waiting = len(self._rows)
        if not self._due.is_set():
            self._due.set()
        if waiting == MOST_ROWS:
            self._at_once.set()

    def flush(self) -> None:
        """Return when all that was added before is written."""
        if not self._rows or getattr(self._inside, "writing", False):
            return  # rows on their way are still here; `write` may ask the database something
        with self._turn:
            self._inside.writing = True
            try:
                self._write_all()
            finally:
                self._inside.writing = False

    def _write_all(self) -> None:
        with self._room:
            left = len(self._rows)
        while left > 0:
            with self._room:
                batch = self._rows[: self._refused or self._fitting(left)]
            self._refused = len(batch)
            self._write(batch)
            self._refused = 0
            with self._room:
                del self._rows[: len(batch)]
                self._room.notify_all()
            left -= len(batch)

    def _fitting(self, left: int) -> int:
        """Return how many of the first rows make one statement."""
        characters = 0
        for number, row in enumerate(self._rows[: min(left, MOST_ROWS)]):
            characters += self._characters(row)
            if number and characters > MOST_CHARACTERS:
                return number
        return min(left, MOST_ROWS)

    def _see_to_it(self) -> None:
        me = threading.current_thread()
        while self._thread is me:
            self._due.wait()
            self._at_once.wait(LATEST_SECONDS)
            self._at_once.clear()
            self._due.clear()
            try:
                self.flush()
            except Exception:
                # whoever relies on the rows flushes too, and is told
                self._due.set()
                time.sleep(BACKOFF_SECONDS)
