"""JSONata: values and files of rows, transformed by an expression."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched


class Transform(RunnableSpec):
    """What all tasks of JSONata have."""

    expression: Dynamic[Text]
    max_depth: Dynamic[int] = 1000

    def evaluator(self) -> Any:
        """Return the expression, parsed."""
        library = needed("jsonata", "transform")
        try:
            return library.Jsonata(self.expression)
        except library.JException as error:
            raise TaskMisconfigured(f"`expression` is not JSONata: {error}") from error

    def evaluated(self, parsed: Any, value: Any) -> Any:
        """Return what the expression makes of a value."""
        library = needed("jsonata", "transform")
        frame = parsed.create_frame()
        frame.set_runtime_bounds(60_000, self.max_depth)
        try:
            return parsed.evaluate(value, frame)
        except library.JException as error:
            raise TaskFailed(f"the expression fails: {error}") from error


class TransformValue(Transform):
    """Transform a value."""

    from_: Dynamic[Text | list[Any] | dict[str, Any]] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        given = self.from_
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except ValueError as error:
                raise TaskMisconfigured(f"`from` is not JSON: {error}") from error
        return {"value": self.evaluated(self.evaluator(), given)}


class TransformItems(Transform):
    """Transform every row of a file."""

    from_: DataFrom = Field(alias="from")
    explode_array: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        parsed = self.evaluator()

        def rows() -> Iterator[Any]:
            for item in each(self.from_, context):
                found = self.evaluated(parsed, item)
                if self.explode_array and isinstance(found, list):
                    yield from found
                else:
                    yield found

        kept = fetched(rows(), "STORE", context)
        return {"uri": kept["uri"], "processedItemsTotal": kept["size"]}
