"""DynamoDB: reading and writing items."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.fetching import FetchType, fetched


class DynamoSpec(AwsSpec):
    """A table."""

    table_name: Dynamic[Text]


class GetItem(DynamoSpec):
    """Read one item by its key; `row` is null where there is none."""

    key: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"read from the table `{self.table_name}`"):
            answer = self.client("dynamodb").get_item(
                TableName=self.table_name, Key=written(self.key)
            )
        item = answer.get("Item")
        return {"row": read(item) if item is not None else None}


class PutItem(DynamoSpec):
    """Write one item."""

    item: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> None:
        with aws_errors(f"write to the table `{self.table_name}`"):
            self.client("dynamodb").put_item(TableName=self.table_name, Item=written(self.item))


class DeleteItem(DynamoSpec):
    """Delete one item by its key."""

    key: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> None:
        with aws_errors(f"delete from the table `{self.table_name}`"):
            self.client("dynamodb").delete_item(TableName=self.table_name, Key=written(self.key))


class Scan(DynamoSpec):
    """Read the items of a table, those that a filter lets pass."""

    fetch_type: Dynamic[FetchType] = "STORE"
    limit: Dynamic[int | None] = Field(default=None, ge=1)
    filter_expression: Dynamic[Text] | None = None
    expression_attribute_values: Dynamic[dict[str, Any]] | None = None
    expression_attribute_names: Dynamic[dict[str, Text]] | None = None

    operation: ClassVar[str] = "scan"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with aws_errors(f"read from the table `{self.table_name}`"):
            items: Iterator[Any] = self._items(context)
            if self.limit is not None:
                items = islice(items, self.limit)
            outputs = fetched(items, self.fetch_type, context)
        context.metric("records", outputs["size"])
        return outputs

    def _items(self, context: TaskContext) -> Iterator[Any]:
        values = self.expression_attribute_values
        given = {
            "FilterExpression": self.filter_expression,
            "ExpressionAttributeValues": written(values) if values else None,
            "ExpressionAttributeNames": self.expression_attribute_names,
            **self.conditions(),
        }
        pages = self.client("dynamodb").get_paginator(self.operation)
        kept = {name: value for name, value in given.items() if value}
        for page in pages.paginate(TableName=self.table_name, **kept):
            context.cancel.check()
            yield from map(read, page.get("Items", ()))

    def conditions(self) -> dict[str, Any]:
        """Return what a subclass asks for beside the filter."""
        return {}


class Query(Scan):
    """Read the items whose keys fit a condition."""

    key_condition_expression: Dynamic[Text]

    operation: ClassVar[str] = "query"

    def conditions(self) -> dict[str, Any]:
        return {"KeyConditionExpression": self.key_condition_expression}


def written(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map as DynamoDB has it, every value with its type."""
    return {str(name): _typed(value) for name, value in item.items()}


def read(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item of DynamoDB as a plain map."""
    return {name: _plain(value) for name, value in item.items()}


def _typed(value: Any) -> dict[str, Any]:
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float, Decimal)):
        return {"N": str(value)}
    if isinstance(value, Mapping):
        return {"M": written(value)}
    if isinstance(value, (list, tuple)):
        return {"L": [_typed(one) for one in value]}
    return {"S": str(value)}


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind == "NULL":
        return None
    if kind == "N":
        return _number(inner)
    if kind == "M":
        return read(inner)
    if kind == "L":
        return [_plain(one) for one in inner]
    if kind == "NS":
        return [_number(one) for one in inner]
    if kind == "B":
        return base64.b64encode(inner).decode()
    if kind == "BS":
        return [base64.b64encode(one).decode() for one in inner]
    return inner


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
