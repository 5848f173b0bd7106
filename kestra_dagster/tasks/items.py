"""Items of line-oriented files: one Ion value a line, of which JSON is a part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rows import values_of

EXTENSION = ".ion"


def read_lines(uri: str, context: TaskContext) -> Iterator[bytes]:
    """Yield the lines of a stored file with their ends, and stop when the task is cancelled."""
    with context.storage.open(uri) as file:
        for number, line in enumerate(file):
            if number % 1000 == 0:
                context.cancel.check()
            yield line


def item_variables(line: bytes, number: int, uri: str) -> dict[str, Any]:
    """Return the fields of the item on a line; raise TaskFailed if there is no map on it."""
    try:
        item, *more = values_of(line.decode("utf-8")) or [None]
    except ValueError as error:
        raise TaskFailed(
            f"line {number} of `{uri}` is neither Ion nor JSON: {error}",
            hint="convert the file first, for example with a `serdes` task",
        ) from error
    if more or not isinstance(item, dict):
        raise TaskFailed(f"line {number} of `{uri}` is not a map of fields")
    return item


def write_items(items: Iterable[Any], path: Path) -> int:
    """Write items, one a line, and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            json.dump(item, file, ensure_ascii=False, default=str, separators=(",", ":"))
            file.write("\n")
            count += 1
    return count
