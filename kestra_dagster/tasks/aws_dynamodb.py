"""DynamoDB: reading and writing items."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.fetching import FetchType, fetched

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_PLACEHOLDER = re.compile(r":\w+")


class DynamoSpec(AwsSpec):
    """A table.

    Numbers are written as numbers. Kestra writes them as text: where the table has text for a key,
    a number becomes text too.
    """

    table_name: Dynamic[Text]

    def ask(self, operation: str, ask: Callable[[Mapping[str, Any]], Any], item: Mapping) -> Any:
        """Return what `ask` gets with an item, or with its keys as the table has them."""
        from botocore.exceptions import ClientError

        with aws_errors(f"{operation} the table `{self.table_name}`"):
            try:
                return ask(written(item))
            except ClientError as error:
                text = self._text_keys(error) & {str(name) for name in item}
                if not any(_is_number(item[name]) for name in text):
                    raise
                return ask(written({**item, **{name: str(item[name]) for name in text}}))

    def _text_keys(self, error: ClientError) -> set[str]:
        """Return the keys of the table that are text, if the error may come from one."""
        if error.response.get("Error", {}).get("Code") != "ValidationException":
            return set()
        table = self.client("dynamodb").describe_table(TableName=self.table_name)["Table"]
        kinds = table.get("AttributeDefinitions", ())
        return {each["AttributeName"] for each in kinds if each["AttributeType"] == "S"}


class GetItem(DynamoSpec):
    """Read one item by its key; `row` is null where there is none."""

    key: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        get = self.client("dynamodb").get_item
        answer = self.ask(
            "read from", lambda key: get(TableName=self.table_name, Key=key), self.key
        )
        item = answer.get("Item")
        return {"row": read(item) if item is not None else None}


class PutItem(DynamoSpec):
    """Write one item."""

    item: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> None:
        put = self.client("dynamodb").put_item
        self.ask("write to", lambda item: put(TableName=self.table_name, Item=item), self.item)


class DeleteItem(DynamoSpec):
    """Delete one item by its key."""

    key: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> None:
        delete = self.client("dynamodb").delete_item
        self.ask("delete from", lambda key: delete(TableName=self.table_name, Key=key), self.key)


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
            items: Iterator[Any] = self.items(context)
            if self.limit is not None:
                items = islice(items, self.limit)
            outputs = fetched(items, self.fetch_type, context)
        context.metric("records", outputs["size"], tags={"tableName": self.table_name})
        return outputs

    def items(self, context: TaskContext) -> Iterator[Any]:
        """Yield the items as plain maps."""
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

    def items(self, context: TaskContext) -> Iterator[Any]:
        from botocore.exceptions import ClientError

        try:
            yield from super().items(context)
        except ClientError as error:
            values = self.expression_attribute_values or {}
            named = _PLACEHOLDER.findall(self.key_condition_expression)
            text = {name: str(values[name]) for name in named if _is_number(values.get(name))}
            if not text or error.response.get("Error", {}).get("Code") != "ValidationException":
                raise
            again = self.model_copy(update={"expression_attribute_values": {**values, **text}})
            yield from Scan.items(again, context)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
