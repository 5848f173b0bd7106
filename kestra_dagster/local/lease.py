"""Who still needs a server: locks that the kernel drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.1


class Lease:
    """A share in a server, held from construction until `release` or the end of the process.

    Any number of processes hold one at a time. Construction waits while the last server is
    still being stopped (`unneeded`).
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def release(self) -> bool:
        """Give the share back; say whether nobody else held one."""
        if self._file.closed:
            return False
        with self._file:
            was_last = _try_exclusive(self._file)
            # Closing alone would leave the lock to a process forked from this one.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return was_last


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for the exclusive lock on `path` and hold it for the block."""
    with _open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Say whether a process holds `path` by `alone`."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


@contextmanager
def unneeded(path: Path, ended: Callable[[], bool]) -> Iterator[None]:
    """Wait until nobody holds a lease on `path`, or `ended()`; newcomers wait outside the block."""
    with _open(path) as file:
        while not _try_exclusive(file) and not ended():
            time.sleep(POLL_SECONDS)
        yield


def _open(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _try_exclusive(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
