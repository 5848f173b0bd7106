"""Cooperative cancellation: one token per attempt, chained to the one of its execution."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kestra_dagster.errors import Cancelled


class CancelToken:
    """Tell running work to stop, and let it register how to be stopped.

    Threads cannot be killed: a task waits on the token instead of sleeping, checks it between
    chunks, and registers a callback (kill a process group, close a connection) for what blocks.
    """

    def __init__(self, parent: CancelToken | None = None) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0
        self.reason: str | None = None
        self._detach = parent.on_cancel(self._from_parent(parent)) if parent else None

    def _from_parent(self, parent: CancelToken) -> Callable[[], None]:
        return lambda: self.cancel(parent.reason or "cancelled")

    @property
    def cancelled(self) -> bool:
        """Say whether the work should stop."""
        return self._event.is_set()

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the work to stop; callbacks run once, on the caller's thread.

        All of them run, whatever one raises; the first error is raised in the end.
        """
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        failed: Exception | None = None
        for callback in callbacks:
            try:
                callback()
            except Exception as error:
                failed = failed or error
        if failed:
            raise failed

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run `callback` when cancelled, at once if it is; return a function that forgets it."""
        with self._lock:
            if not self._event.is_set():
                key = self._next
                self._next += 1
                self._callbacks[key] = callback
                return lambda: self._forget(key)
        callback()
        return lambda: None

    def _forget(self, key: int) -> None:
        with self._lock:
            self._callbacks.pop(key, None)

    def check(self) -> None:
        """Raise Cancelled if the work should stop."""
        if self._event.is_set():
            raise Cancelled(self.reason or "cancelled")

    def sleep(self, seconds: float) -> None:
        """Wait, and raise Cancelled as soon as the work should stop."""
        if self._event.wait(seconds):
            raise Cancelled(self.reason or "cancelled")

    def close(self) -> None:
        """Forget the link to the parent token."""
        if self._detach:
            self._detach()
