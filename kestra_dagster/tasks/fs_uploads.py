"""`from` properties that name stored files to write somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, uri_name
from kestra_dagster.tasks.data_from import each

Sources = Dynamic[Text | list[Text] | dict[str, Text]]
"""URIs, a map of name to URI, JSON text of these, or the URI of a file that holds them.

A URI of a file that holds something else stands for that file itself.
"""


def sources(given: str | list[str] | dict[str, str], context: TaskContext) -> Iterator[tuple]:
    """Yield name and URI of each file; a name is the last part of the URI if none is given."""
    for row in _rows(given, context):
        named = row.items() if isinstance(row, dict) else [(None, row)]
        for name, uri in named:
            if not is_internal(uri):
                raise TaskMisconfigured(f"`from`: `{uri}` is not the URI of a stored file")
            yield name or uri_name(uri), uri


def _rows(given: str | list[str] | dict[str, str], context: TaskContext) -> Iterator[Any]:
    if not is_internal(given):
        yield from each(given, context)
        return
    assert isinstance(given, str)
    rows = each(given, context)
    try:
        head = next(rows, None)
    except TaskFailed:
        head = None  # it holds no rows at all
    values = head.values() if isinstance(head, dict) else [head]
    if head and all(map(is_internal, values)):
        yield head
        yield from rows
    else:
        yield given
