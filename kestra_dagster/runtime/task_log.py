"""The log of a task run: into the execution's log, or into a file of its own (`logToFile`)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from typing import BinaryIO, cast

SEVERITY = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4}


class RunningLog:
    """What a task writes its log with; lines below the task's `logLevel` are dropped."""

    def __init__(self, write: Callable[[str, str], None], least: str | None) -> None:
        self._write = write
        self._least = SEVERITY[least or "TRACE"]

    def log(self, level: str, message: str) -> None:
        if SEVERITY.get(level, 2) >= self._least:
            self._write(level, message)

    def trace(self, message: str) -> None:
        self.log("TRACE", message)

    def debug(self, message: str) -> None:
        self.log("DEBUG", message)

    def info(self, message: str) -> None:
        self.log("INFO", message)

    def warn(self, message: str) -> None:
        self.log("WARN", message)

    def error(self, message: str) -> None:
        self.log("ERROR", message)


class LogFile:
    """Lines of one attempt, gathered for a file in the internal storage."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self._file: BinaryIO | None = None

    def write(self, level: str, message: str) -> None:
        """Add a line, with the time and the level in front."""
        if self._file is None:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="kestra-log-"))  # noqa: SIM115
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._file.write(f"{now} {level} {self._mask(message)}\n".encode())

    def stored(self, put: Callable[[BinaryIO, str], str]) -> str | None:
        """Store the lines and return their URI; None if there is no line."""
        if self._file is None:
            return None
        with self._file as file:
            file.seek(0)
            return put(file, "log.txt")
