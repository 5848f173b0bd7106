"""Copies of small files that a process has written or read, so that it fetches them once."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kestra_dagster.runtime.guard import guarded_folder

LARGEST = 64 << 20
"""A larger file is not kept."""
MOST = 256 << 20
"""Bytes that are kept in all; those that were not used for longest go first."""
FRESH_SECONDS = 10.0
"""After so long a copy is compared with the original before it is used again."""


@dataclass(slots=True)
class _Copy:
    path: Path
    size: int
    stamp: str
    checked: float


class NearbyFiles:
    """Copies by key, in a temporary folder that is gone with the process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turns = [threading.Lock() for _ in range(16)]
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._bytes = 0
        self._count = 0
        self._folder: Path | None = None

    @staticmethod
    def takes(size: int) -> bool:
        """Say whether a file of a size is kept."""
        return size <= LARGEST

    def turn(self, key: str) -> threading.Lock:
        """Return the lock of whoever fetches a file, so that threads do not fetch it twice."""
        return self._turns[hash(key) % len(self._turns)]

    def open(self, key: str, stamp: Callable[[], str | None]) -> BinaryIO | None:
        """Open the copy of a file; None if there is none, or the original is another by now."""
        found = self._current(key, stamp)
        if found is not None:
            with suppress(OSError):  # somebody cleared the folder for temporary files
                return found.path.open("rb")
        return None

    def link(self, key: str, stamp: Callable[[], str | None]) -> Path | None:
        """Return a name of its own for the copy of a file, which the caller removes."""
        found = self._current(key, stamp)
        if found is not None:
            with suppress(OSError), self._lock:
                name = self._name()
                os.link(found.path, name)
                return name
        return None

    def add(self, key: str, write: Callable[[BinaryIO], object], stamp: str) -> bool:
        """Keep a file that `write` writes; return False where there is no room for it."""
        with self._lock:
            try:
                path = self._name()
            except OSError:
                return False
        try:
            with path.open("wb") as file:
                write(file)
                size = file.tell()
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                return False
            raise
        with self._lock:
            self.drop(key)
            self._copies[key] = _Copy(path, size, stamp, time.monotonic())
            self._bytes += size
            while self._bytes > MOST:
                self.drop(next(iter(self._copies)))
        return True

    def drop(self, key: str) -> None:
        """Forget the copy of a file."""
        with self._lock:
            if self._owner != os.getpid():  # a fork: what is there belongs to the parent
                self._reset()
            copy = self._copies.pop(key, None)
            if copy is not None:
                self._bytes -= copy.size
                with suppress(OSError):
                    copy.path.unlink(missing_ok=True)

    def _current(self, key: str, stamp: Callable[[], str | None]) -> _Copy | None:
        with self._lock:
            if self._owner != os.getpid():
                self._reset()
            found = self._copies.get(key)
            if found is None:
                return None
            self._copies.move_to_end(key)
        if time.monotonic() - found.checked > FRESH_SECONDS:
            if stamp() != found.stamp:
                self.drop(key)
                return None
            found.checked = time.monotonic()
        return found

    def _name(self) -> Path:
        if self._owner != os.getpid():
            self._reset()
        if self._folder is None:
            self._folder = guarded_folder()
        self._count += 1
        return self._folder / str(self._count)
