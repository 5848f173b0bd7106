"""Async ops of several threads on the one event loop that the run's resources know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class LoopThread:
    """The run's event loop, run by a thread from the first async op on until `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run_until_complete(self, awaitable: Awaitable[T]) -> T:
        """Await in the loop's thread; any thread may call, several at once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="async ops", daemon=True
                )
                self._thread.start()

        async def wait() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    def cancel(self) -> None:
        """Have all that is awaited raise CancelledError."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._cancel_all)

    def stop(self, timeout: float = 1.0) -> None:
        """Cancel what still runs and give the loop back to the calling thread."""
        if self._thread is None:
            return
        self.cancel()
        self._loop.call_soon_threadsafe(self._loop.call_soon, self._loop.stop)
        self._thread.join(timeout)

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
