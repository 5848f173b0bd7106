"""Kill an execution from any process: a wish in the key-value store, seen by its own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kestra_dagster.errors import RetryableError
from kestra_dagster.runtime.context import KeyValueStore
from kestra_dagster.runtime.live import live_execution

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution

NAMESPACE = "~kills"
"""Where the wishes are kept: no flow can have a namespace of that name."""
POLL_SECONDS = 0.5
"""How late a kill from another process may be noticed."""

_lock = threading.Lock()
_watched: dict[str, KeyValueStore] = {}
_watcher: threading.Thread | None = None


def ask_to_kill(store: KeyValueStore, execution_id: str) -> None:
    """Have an execution killed by the process that runs it."""
    store.set(NAMESPACE, execution_id, True)


@contextmanager
def killable(execution: Execution) -> Iterator[None]:
    """Look for a wish to kill the execution, for the length of the block."""
    global _watcher
    store = execution.platform.kv
    with _lock:
        _watched[execution.id] = store
        if _watcher is None:
            _watcher = threading.Thread(target=_watch, name="kills", daemon=True)
            _watcher.start()
    try:
        yield
    finally:
        with _lock:
            _watched.pop(execution.id, None)
        store.delete(NAMESPACE, execution.id)


def _watch() -> None:
    """Look at all stores with executions at work here, and end once there is none."""
    global _watcher
    pause = threading.Event()
    while not pause.wait(POLL_SECONDS):
        with _lock:
            if not _watched:
                _watcher = None
                return
            stores = {id(store): store for store in _watched.values()}
        for store in stores.values():
            try:
                asked = store.keys(NAMESPACE)
            except RetryableError:
                continue  # the database is away for now
            for execution_id in asked:
                execution = live_execution(execution_id)
                if execution is not None and execution_id in _watched:
                    execution.kill()
