"""The journal of a run: one append-only file of JSON lines per step, under the run's folder.

Every process of a run can read what the others wrote, and a later run (re-execution) what its
parent did. A line is written whole or not at all: a torn last line (a killed process) is ignored.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.runtime.storage import write_atomically


class StoreUnwritable(KestraDagsterError):
    """What a task returned could not be kept (disk full, no permission)."""


class Journal:
    """Read and append the lines of one run; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, int] = {}

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        return self._folder

    def append(self, step_key: str, line: Mapping[str, Any]) -> None:
        """Write one line; raise StoreUnwritable with the folder and the reason if it cannot be."""
        self.append_all(step_key, [line])

    def append_all(self, step_key: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines at once; raise StoreUnwritable and write none of them if it cannot be."""
        data = b"".join(_encoded(line) for line in lines)
        with self._lock:
            try:
                descriptor = self._descriptor(step_key)
                written = os.write(descriptor, data)
                if written < len(data):
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                    raise OSError(28, os.strerror(28))
            except OSError as error:
                own = step_key.startswith("_")
                what = "the state of the execution" if own else f"the outputs of `{step_key}`"
                raise StoreUnwritable(
                    f"cannot keep {what} in `{self._folder}`: "
                    f"{error.strerror or error}\n  hint: free some space or choose another folder "
                    "with KESTRA_DAGSTER_STORAGE"
                ) from error

    def read(self, step_key: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of one step, none if it wrote nothing."""
        yield from _lines(self._path(step_key))

    def read_all(self, *, but: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the lines of all steps (`but` one), step by step."""
        left_out = self._path(but) if but else None
        for path in sorted(self._folder.glob("*.jsonl")):
            if path != left_out:
                yield from _lines(path)

    def rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
        """Keep only some lines of a run that has ended; return how many are gone."""
        self.close()
        gone = 0
        for path in sorted(self._folder.glob("*.jsonl")):
            lines = list(_lines(path))
            kept = [line for line in lines if keep(line)]
            gone += len(lines) - len(kept)
            if not kept:
                path.unlink()
            elif len(kept) < len(lines):
                write_atomically(path, b"".join(_encoded(line) for line in kept))
        return gone

    def close(self) -> None:
        """Close the files; a later append opens them again."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def delete(self) -> None:
        """Remove the whole journal."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _descriptor(self, step_key: str) -> int:
        if step_key not in self._files:
            path = self._path(step_key)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[step_key] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._files[step_key]

    def _path(self, step_key: str) -> Path:
        return self._folder / f"{quote(step_key, safe='')}.jsonl"


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":"), default=str).encode() + b"\n"


def read_line(raw: bytes) -> dict[str, Any] | None:
    """Return a line that was written; None for one that was torn."""
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for raw in text.splitlines():
        line = read_line(raw)
        if line is not None:
            yield line
