"""The executions at work in this process, by id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from kestra_dagster.runtime.execution import Execution

_lock = threading.Lock()
_live: WeakValueDictionary[str, Execution] = WeakValueDictionary()


def register(execution: Execution) -> None:
    """Make an execution known for as long as somebody holds it."""
    with _lock:
        _live[execution.id] = execution


def live_execution(execution_id: str) -> Execution | None:
    """Return an execution that this process runs, or ran and still holds."""
    with _lock:
        return _live.get(execution_id)
