"""What a caller in this process hands to a run and gets from it, past the instance."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kestra_dagster.runtime.continuation import Continuation
from kestra_dagster.runtime.events import Listener
from kestra_dagster.runtime.execution import Execution
from kestra_dagster.runtime.retries import Tried

SESSION_TAG = ".dagster/kestra_session"
"""A run tag that Dagster's UI does not show."""

_lock = threading.Lock()
_open: dict[str, Session] = {}


@dataclass(slots=True)
class Session:
    """A caller that waits for a run: who listens, secrets held for it, the execution it became.

    `opened` is told the execution before it begins; `retry_of` is what is left of the one that it
    takes the place of. Without `checked` what is held are the inputs, as they are. `continuation`
    is what the run takes over; it goes on under `execution_id`, or is a new execution. `inputs`
    take the place of those of run config. With a `refusal` the execution only fails with it. A
    caller that `makes_retries` runs the new execution where a retry asks for one.
    """

    listener: Listener | None = None
    held: Mapping[str, Any] = field(default_factory=dict)
    trigger: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    checked: bool = True
    continuation: Continuation | None = None
    execution_id: str | None = None
    is_new: bool = False
    inputs: Mapping[str, Any] | None = None
    refusal: str | None = None
    files: str | None = None
    retry_of: Tried | None = None
    makes_retries: bool = False
    opened: Callable[[Execution], None] = lambda _: None
    execution: Execution | None = None


@contextmanager
def session(opened: Session) -> Iterator[str]:
    """Keep a session open and give its key."""
    key = uuid.uuid4().hex
    with _lock:
        _open[key] = opened
    try:
        yield key
    finally:
        with _lock:
            _open.pop(key, None)


def session_of(tags: Mapping[str, str]) -> Session | None:
    """Return the session a run belongs to, if its caller is in this process."""
    with _lock:
        return _open.get(tags.get(SESSION_TAG, ""))
