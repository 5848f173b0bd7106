"""`from` properties that take data in any form: a stored file, a list, a map, or JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal
from kestra_dagster.tasks.rows import read_rows

DataFrom = Dynamic[Text | list[Any] | dict[str, Any]]
"""The URI of a file of rows, rows, one row, or JSON of these."""


def each(data: str | list[Any] | dict[str, Any], context: TaskContext) -> Iterator[Any]:
    """Yield the rows that `data` stands for."""
    if isinstance(data, str):
        if is_internal(data):
            yield from read_rows(data, context)
            return
        try:
            data = json.loads(data)
        except ValueError as error:
            raise TaskMisconfigured(
                f"`from` is neither the URI of a stored file nor JSON: {error}"
            ) from error
    yield from data if isinstance(data, list) else [data]


def each_map(data: str | list[Any] | dict[str, Any], context: TaskContext) -> Iterator[dict]:
    """Yield the rows, each of which has to be a map."""
    for number, row in enumerate(each(data, context), start=1):
        if not isinstance(row, dict):
            raise TaskMisconfigured(f"row {number} of `from` is not a map of fields")
        yield row
