"""The exceptions of the package: one root, told apart by what the caller should do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class KestraDagsterError(Exception):
    """Root of every error raised on purpose by this package."""


class TerminalError(KestraDagsterError):
    """Trying again cannot help: the flow, its input or the set-up has to change."""


class RetryableError(KestraDagsterError):
    """Trying again may help: the outside world was in the way."""


class TaskFailed(RetryableError):
    """A task ended FAILED.

    `outputs` are what the task still has to publish (a failed script exposes its exit code);
    `hint` says what the reader can do about it.
    """

    def __init__(
        self, message: str, *, outputs: Mapping[str, Any] | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.outputs = outputs
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class TaskMisconfigured(TaskFailed, TerminalError):
    """A rendered property has a value the task cannot work with; a retry would see the same."""


class Cancelled(KestraDagsterError):
    """The execution, or the attempt, was told to stop while a task was at work."""
