"""What becomes of rows that a task fetched: nothing, the first, all, or a stored file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.items import EXTENSION
from kestra_dagster.tasks.rows import Rows, plain

FetchType = Literal["NONE", "FETCH", "FETCH_ONE", "STORE"]


def fetched(rows: Iterable[Any], how: FetchType, context: TaskContext) -> dict[str, Any]:
    """Return the outputs: `rows`, `row` or `uri`, and `size`."""
    if how == "NONE":
        return {"size": sum(1 for _ in rows)}
    if how == "FETCH":
        found = [plain(row) for row in rows]
        return {"rows": found, "size": len(found)}
    if how == "FETCH_ONE":
        first = next(iter(rows), None)
        return {"row": plain(first), "size": 0 if first is None else 1}
    with scratch_file(context) as path:
        with Rows(path) as written:
            for row in rows:
                written.write(row)
        return {"uri": context.storage.put(path, f"rows{EXTENSION}"), "size": written.count}
