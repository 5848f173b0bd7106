"""What functions need from outside of an expression: the only door to the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Protocol


class Host(Protocol):
    """The surroundings of an execution; expressions do no I/O by themselves.

    Every method may raise an error of this package (it passes through unchanged). `namespace` is
    None where the expression names none: the flow's own. Masking of secrets is up to the host.
    """

    @property
    def time_zone(self) -> tzinfo:
        """The zone of dates that have none, and of the text of dates (the server's, in Kestra)."""
        ...

    def now(self) -> datetime:
        """Return the current time, aware."""
        ...

    def secret(self, key: str, namespace: str | None) -> str:
        """Return a secret's whole value; an unknown key raises."""
        ...

    def mask(self, value: str) -> None:
        """Keep a text out of what people read: it is a part of a secret."""
        ...

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> Any:
        """Return the typed value of a key; None for an unknown one unless that shall raise."""
        ...

    def read(self, path: str, namespace: str | None, revision: int | None) -> str | bytes:
        """Return the content of a namespace file or of a file of this execution."""
        ...

    def file_uri(self, path: str, namespace: str | None, revision: int | None) -> str:
        """Return the URI of a namespace file."""
        ...

    def file_size(self, path: str, namespace: str | None) -> int:
        """Return the size of a file in bytes."""
        ...

    def file_exists(self, path: str, namespace: str | None) -> bool:
        """Say whether there is such a file."""
        ...

    def is_file_empty(self, path: str, namespace: str | None) -> bool:
        """Say whether a file has no content."""
        ...

    def error_logs(self) -> Sequence[Mapping[str, Any]]:
        """Return the ERROR log lines of the execution."""
        ...

    def http(self, request: Mapping[str, Any]) -> Any:
        """Send a request and return its decoded body.

        Keys as in Kestra's `http()`: uri and method, and those of query, body, contentType,
        headers, options and accept that were given.
        """
        ...
