"""Tasks on files of items: keep some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.expressions import ExpressionError, truthy
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.items import EXTENSION, item_variables, read_lines

Choice = Literal["INCLUDE", "EXCLUDE"]


class DeduplicateItems(RunnableSpec):
    """Keep the last item of each key."""

    from_: Dynamic[Text] = Field(alias="from")
    expr: Text

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        last: dict[str, int] = {}
        total = 0
        for total, line in enumerate(read_lines(self.from_, context), start=1):
            fields = item_variables(line, total, self.from_)
            last[context.render(self.expr, fields)] = total
        kept = set(last.values())
        with scratch_file(context) as path:
            with path.open("wb") as file:
                for number, line in enumerate(read_lines(self.from_, context), start=1):
                    if number in kept:
                        file.write(_ended(line))
            uri = context.storage.put(path, f"items{EXTENSION}")
        return {
            "uri": uri,
            "numKeys": len(last),
            "processedItemsTotal": total,
            "droppedItemsTotal": total - len(kept),
        }


class FilterItems(RunnableSpec):
    """Keep or drop the items for which a condition holds."""

    from_: Dynamic[Text] = Field(alias="from")
    filter_condition: Text
    filter_type: Dynamic[Choice] = "INCLUDE"
    error_or_null_behavior: Dynamic[Literal["FAIL", "INCLUDE", "EXCLUDE"]] = "FAIL"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        total = dropped = 0
        with scratch_file(context) as path:
            with path.open("wb") as file:
                for total, line in enumerate(read_lines(self.from_, context), start=1):
                    if self._keeps(item_variables(line, total, self.from_), total, context):
                        file.write(_ended(line))
                    else:
                        dropped += 1
            uri = context.storage.put(path, f"items{EXTENSION}")
        return {"uri": uri, "processedItemsTotal": total, "droppedItemsTotal": dropped}

    def _keeps(self, fields: Mapping[str, Any], number: int, context: TaskContext) -> bool:
        try:
            match = truthy(context.render(self.filter_condition, fields).strip())
        except ExpressionError as error:
            if self.error_or_null_behavior == "FAIL":
                raise TaskFailed(
                    f"`filterCondition` fails on item {number} of `{self.from_}`: {error}",
                    hint="set `errorOrNullBehavior` to INCLUDE or EXCLUDE to go on",
                ) from error
            return self.error_or_null_behavior == "INCLUDE"
        return match == (self.filter_type == "INCLUDE")


def _ended(line: bytes) -> bytes:
    return line if line.endswith(b"\n") else line + b"\n"
