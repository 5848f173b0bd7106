"""How running steps learn that their run is to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kestra_dagster.runtime.cancellation import CancelToken

_lock = threading.Lock()
_tokens: dict[str, CancelToken] = {}
_asked: set[str] = set()


def termination(run_id: str) -> CancelToken:
    """Return the token that is cancelled when the run is terminated.

    An op checks it, sleeps on it, or registers with `on_cancel` what ends its work (kill a process,
    close a connection). The token of a run that no threaded executor of this process is driving is
    never cancelled.
    """
    with _lock:
        return _tokens.get(run_id) or CancelToken()


def drives(run_id: str) -> bool:
    """Say whether a threaded executor of this process is running the steps of a run."""
    with _lock:
        return run_id in _tokens


def terminate(run_id: str) -> bool:
    """Ask the executor of this process that drives a run to end it, as a signal would.

    Return False where none does.
    """
    with _lock:
        if run_id not in _tokens:
            return False
        _asked.add(run_id)
        return True


def is_asked(run_id: str) -> bool:
    """Say whether a run driven from here was asked to end."""
    with _lock:
        return run_id in _asked


@contextmanager
def terminable(run_id: str) -> Iterator[CancelToken]:
    """Provide the token of a run for as long as it is driven from here."""
    token = CancelToken()
    with _lock:
        _tokens[run_id] = token
    try:
        yield token
    finally:
        with _lock:
            _tokens.pop(run_id, None)
            _asked.discard(run_id)
