"""The journal of a run: lines of JSON in parts, one part for each step.

Every process of a run can read what the others wrote, and a later run (re-execution) what its
parent did. Journals are files in a folder, or rows of the instance's Postgres (journal_sql.py).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from kestra_dagster.errors import KestraDagsterError
from kestra_dagster.runtime.store import write_atomically


class StoreUnwritable(KestraDagsterError):
    """What a task returned could not be kept (disk full, no permission)."""


class Journal(Protocol):
    """Read and append the lines of one run; thread-safe."""

    def append(self, step_key: str, line: Mapping[str, Any]) -> None:
        """Write one line; raise StoreUnwritable with the place and the reason if it cannot be.

        A line of a step may be on its way for a moment, until `settle`; one of a part whose name
        begins with `_` never is.
        """
        ...

    def append_all(self, step_key: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines at once; raise StoreUnwritable and write none of them if it cannot be."""
        ...

    def settle(self) -> None:
        """Return when everything is written that was appended before; raise StoreUnwritable."""
        ...

    def read(self, step_key: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of one step, none if it wrote nothing."""
        ...

    def read_all(self, *, but: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the lines of all steps (`but` one), step by step."""
        ...

    def tail(self, *, but: str) -> Callable[[], list[dict[str, Any]]]:
        """Return what gives the lines that are new since its last call (all steps `but` one)."""
        ...

    def rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
        """Keep only some lines of a run that has ended; return how many are gone."""
        ...

    def close(self) -> None:
        """Let go of what is open; a later append opens it again."""
        ...

    def delete(self) -> None:
        """Remove the whole journal."""
        ...


class Journals(Protocol):
    """The journals of an instance, by the ids of runs."""

    def of(self, run_id: str) -> Journal:
        """Return the journal of a run, which may not have begun."""
        ...

    def runs(self, prefix: str = "") -> list[str]:
        """Return the ids of the runs that have one and begin with `prefix`, sorted."""
        ...

    def firsts(self, step_key: str) -> Iterator[dict[str, Any]]:
        """Yield the first line of a part of each journal, by the ids of their runs."""
        ...


class FolderJournals:
    """Journals in a folder: one folder for each run, in it a file for each step."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, run_id: str) -> FolderJournal:
        return FolderJournal(self._root / run_id)

    def runs(self, prefix: str = "") -> list[str]:
        if not prefix:
            return sorted(path.name for path in self._root.glob("*"))
        if "/" in prefix:
            return []
        return sorted(path.name for path in self._root.glob(f"{escape(prefix)}*"))

    def firsts(self, step_key: str) -> Iterator[dict[str, Any]]:
        for run in self.runs():
            yield from islice(self.of(run).read(step_key), 1)


class FolderJournal:
    """One append-only file of JSON lines per step, under the run's folder.

    A line is written whole or not at all: a torn last line (a killed process) is ignored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, int] = {}

    def append(self, step_key: str, line: Mapping[str, Any]) -> None:
        self.append_all(step_key, [line])

    def append_all(self, step_key: str, lines: Iterable[Mapping[str, Any]]) -> None:
        data = b"".join(encoded(line) for line in lines)
        with self._lock:
            try:
                descriptor = self._descriptor(step_key)
                written = os.write(descriptor, data)
                if written < len(data):
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                    raise OSError(28, os.strerror(28))
            except OSError as error:
                reason = error.strerror or str(error)
                raise unwritable(step_key, str(self._folder), reason) from error

    def settle(self) -> None:
        pass

    def read(self, step_key: str) -> Iterator[dict[str, Any]]:
        yield from _lines(self._path(step_key))

    def read_all(self, *, but: str | None = None) -> Iterator[dict[str, Any]]:
        left_out = self._path(but) if but else None
        for path in sorted(self._folder.glob("*.jsonl")):
            if path != left_out:
                yield from _lines(path)

    def tail(self, *, but: str) -> Callable[[], list[dict[str, Any]]]:
        read: dict[Path, int] = {}
        left_out = self._path(but)

        def new_lines() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            for path in sorted(self._folder.glob("*.jsonl")):
                if path == left_out:
                    continue
                with path.open("rb") as file:
                    file.seek(read.get(path, 0))
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                read[path] = read.get(path, 0) + len(whole)
                found += decoded(whole)
            return found

        return new_lines

    def rewrite(self, keep: Callable[[dict[str, Any]], bool]) -> int:
        self.close()
        gone = 0
        for path in sorted(self._folder.glob("*.jsonl")):
            lines = list(_lines(path))
            kept = [line for line in lines if keep(line)]
            gone += len(lines) - len(kept)
            if not kept:
                path.unlink()
            elif len(kept) < len(lines):
                write_atomically(path, b"".join(encoded(line) for line in kept))
        return gone

    def close(self) -> None:
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def delete(self) -> None:
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


def encoded(line: Mapping[str, Any]) -> bytes:
    """Return a line as it is written."""
    return json.dumps(line, separators=(",", ":"), default=str).encode() + b"\n"


def decoded(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines that were written; one that was torn is left out."""
    for raw in data.splitlines():
        try:
            yield json.loads(raw)
        except ValueError:
            continue


def unwritable(
    step_key: str,
    place: str,
    reason: str,
    hint: str = "free some space or choose another folder with KESTRA_DAGSTER_STORAGE",
) -> StoreUnwritable:
    """Return the error that says what of a run could not be kept, and where."""
    own = step_key.startswith("_")
    what = "the state of the execution" if own else f"the outputs of `{step_key}`"
    return StoreUnwritable(f"cannot keep {what} in `{place}`: {reason}\n  hint: {hint}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    yield from decoded(data)
