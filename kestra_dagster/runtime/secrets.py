"""Secrets: where `secret()` finds them, and how their values are kept out of what people read."""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from kestra_dagster.errors import TerminalError

MASK = "********"


class SecretNotFound(TerminalError):
    """`secret()` asked for a key that the environment does not hold."""


class Masker:
    """Replace secret values by asterisks; learns every secret that an execution reads."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: tuple[str, ...] = ()
        self.add(*values)

    def add(self, *values: str) -> None:
        """Learn values, also in the form they take inside JSON text."""
        forms = {form for value in values if value.strip() for form in _forms(value)}
        with self._lock:
            if not forms <= set(self._values):
                self._values = tuple(sorted({*self._values, *forms}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return `text` without any known secret."""
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def value(self, value: Any) -> Any:
        """Return a copy of nested data without any known secret."""
        if not self._values:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def _forms(value: str) -> Iterable[str]:
    yield value
    yield json.dumps(value)[1:-1]
    for line in value.splitlines():
        # a multi-line secret (a private key) is logged line by line; short lines say nothing
        if len(line.strip()) >= 8:
            yield line


def environment_secret(key: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a secret of the environment: base64 in `SECRET_<KEY>`, as Kestra OSS keeps them."""
    environ = os.environ if environ is None else environ
    name = f"SECRET_{key.upper()}"
    encoded = environ.get(name)
    if encoded is None:
        raise SecretNotFound(
            f"secret `{key}` not found; set the environment variable `{name}` "
            "to its value encoded as base64"
        )
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SecretNotFound(
            f"secret `{key}` is unreadable: the environment variable `{name}` does not hold base64"
        ) from None
