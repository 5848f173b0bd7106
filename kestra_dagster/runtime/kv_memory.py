"""Keys and values in this process, for executions without an instance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from kestra_dagster.runtime.context import OWN, KeyValue
from kestra_dagster.runtime.kv import decoded, encoded


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    kind: str
    description: str | None = None
    expires: datetime | None = None

    @property
    def live(self) -> bool:
        return self.expires is None or self.expires > datetime.now(timezone.utc)

    @property
    def value(self) -> Any:
        return decoded(self.kind, self.text)


class MemoryKeyValues:
    """The key-value store in memory; what is read back has gone through JSON, as from a database.

    Thread-safe; `edit` runs `change` while it holds the whole store.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[tuple[str, str], _Entry] = {}

    def get(self, namespace: str, key: str) -> KeyValue | None:
        """Return what is stored under a key; None if there is nothing, or it has expired."""
        entry = self._live(namespace, key)
        return KeyValue(entry.value, entry.description, entry.expires) if entry else None

    def set(
        self,
        namespace: str,
        key: str,
        value: Any,
        *,
        ttl: timedelta | None = None,
        description: str | None = None,
        overwrite: bool = True,
    ) -> bool:
        """Store a value; with `overwrite=False` return False and change nothing if it exists."""
        expires = datetime.now(timezone.utc) + ttl if ttl is not None else None
        with self._lock:
            if not overwrite and self._live(namespace, key):
                return False
            self._entries[namespace, key] = _Entry(*encoded(value), description, expires)
        return True

    def edit(self, namespace: str, key: str, change: Callable[[Any | None], Any]) -> Any:
        """Store and return `change(current value or None)`, in one step among all writers."""
        with self._lock:
            old = self._live(namespace, key)
            text, kind = encoded(change(old.value if old else None))
            new = replace(old, text=text, kind=kind) if old else _Entry(text, kind)
            self._entries[namespace, key] = new
        return new.value

    def delete(self, namespace: str, key: str) -> bool:
        """Delete a key and say whether it was there."""
        with self._lock:
            entry = self._entries.pop((namespace, key), None)
        return entry is not None and entry.live

    def keys(self, namespace: str, prefix: str = "") -> list[str]:
        """Return the keys of a namespace that start with `prefix`, sorted."""
        with self._lock:
            return sorted(
                key
                for (space, key), entry in self._entries.items()
                if space == namespace and key.startswith(prefix) and entry.live
            )

    def purge(self, namespaces: Sequence[str], key_pattern: str | None, expired_only: bool) -> int:
        """Delete keys that match the glob (none: all) in namespaces that match the globs."""
        with self._lock:
            doomed = [
                (space, key)
                for (space, key), entry in self._entries.items()
                if not space.startswith(OWN)
                and any(fnmatchcase(space, glob) for glob in namespaces)
                and fnmatchcase(key, key_pattern or "*")
                and not (expired_only and entry.live)
            ]
            for place in doomed:
                del self._entries[place]
        return len(doomed)

    def _live(self, namespace: str, key: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get((namespace, key))
        return entry if entry is not None and entry.live else None


@lru_cache(maxsize=1)
def process_store() -> MemoryKeyValues:
    """Return the store that the inline executions of this process share."""
    return MemoryKeyValues()
