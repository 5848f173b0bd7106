"""The S3 of an instance: its client, what its errors mean, and a file as a stream from anywhere."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from kestra_dagster.errors import TerminalError

T = TypeVar("T")

CONNECT_SECONDS, READ_SECONDS = 5, 60
CONNECTIONS = 32
MISSING = frozenset(("404", "NoSuchKey", "NotFound"))
"""Codes that say that a key is not there."""
_PASSING = frozenset(
    ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError")
)
_HINTS = {
    "NoCredentials": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run "
    "where a role is given",
    "NoSuchBucket": "make the bucket, or name another in KESTRA_DAGSTER_STORAGE",
    "InvalidAccessKeyId": "the key is not known there: see AWS_PROFILE and AWS_ENDPOINT_URL_S3",
    "SignatureDoesNotMatch": "the secret key is not the one of the access key",
    "AccessDenied": "docs/deployment.md lists what has to be allowed on the bucket",
    "403": "docs/deployment.md lists what has to be allowed on the bucket",
}
"""What to do about an error whose code or name holds a word."""


class StorageRefused(TerminalError):
    """The S3 of the instance does not do what it is asked for, and would not later."""


def new_client() -> Any:
    """Return a client; where S3 is and how to get in, botocore finds in its usual places."""
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        # S3 look-alikes know neither newer checksums nor bucket names in host names
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint() else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # what takes longer to pass is waited for by runtime/patience.py
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
    )
    session = Session()
    session.register_component("data_loader", _loader())
    return session.create_client("s3", config=config)


@cache
def _loader() -> Any:
    """Share the parsed descriptions of the service, which are most of what a client costs."""
    from botocore.loaders import create_loader

    return create_loader()


def endpoint() -> str | None:
    """Return the address of an S3 that is not the one of AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def code_of(error: Exception) -> str:
    """Return the code by which S3 names an error, else the name of its class."""
    answer = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def why_gone(error: Exception) -> str | None:
    """Say what happened where an error means that S3 went away; None for another error."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passes = status >= 500 or code_of(error) in _PASSING
    else:
        gone = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)
        passes = isinstance(error, gone)
    return " ".join(str(error).split()) if passes else None


def refused(place: str, error: Exception) -> StorageRefused:
    """Return the error that says what S3 refused and what to do."""
    code = code_of(error)
    hint = next((text for part, text in _HINTS.items() if part in code), None)
    said = " ".join(str(error).split())
    text = f"the files of this instance are in {place}, which refuses: {said}"
    return StorageRefused(f"{text}\n  hint: {hint}" if hint else text)


class StreamedFile(io.RawIOBase):
    """A file read from S3 as it comes; a connection that breaks is opened again where it was.

    `body_from(position)` opens it from a byte on, `patiently` does something again that broke.
    """

    def __init__(
        self,
        size: int,
        body: Any,
        body_from: Callable[[int], Any],
        patiently: Callable[[Callable[[], int]], int],
    ) -> None:
        self._size = size
        self._at = 0
        self._body = body
        self._body_from = body_from
        self._patiently = patiently

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        position = max(0, start + offset)
        if position != self._at:
            self._let_go()
            self._at = position
        return position

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size or not len(buffer):
            return 0
        return self._patiently(lambda: self._read(buffer))

    def close(self) -> None:
        self._let_go()
        super().close()

    def _read(self, buffer: Any) -> int:
        from botocore.exceptions import IncompleteReadError

        try:
            if self._body is None:
                self._body = self._body_from(self._at)
            data = self._body.read(len(buffer))
            if not data:
                raise IncompleteReadError(actual_bytes=self._at, expected_bytes=self._size)
        except Exception:
            self._let_go()
            raise
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            with suppress(Exception):
                body.close()
