"""Rows as records of an Avro schema: schemas guessed from rows, values made to fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.expressions.java_time import Moment
from kestra_dagster.tasks.rows import to_utc

TRUE = ("t", "true", "enabled", "1", "on", "yes")
FALSE = ("f", "false", "disabled", "0", "off", "no", "")
NULL = (
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "1.#IND",
    "1.#QNAN",
    "NA",
    "n/a",
    "nan",
    "null",
)
_NUMBERS = ("int", "long", "float", "double")


class Unfit(ValueError):
    """A value does not fit the schema; the text says where and why."""


def parse_schema(text: str) -> dict[str, Any]:
    """Return a record schema; raise TaskMisconfigured if the text is none."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise TaskMisconfigured(f"`schema` is not JSON: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise TaskMisconfigured('`schema` has to be an Avro schema of `"type": "record"`')
    return schema


def guessed_schema(rows: Iterable[Any]) -> dict[str, Any]:
    """Return the schema that all the rows fit; every field may be null."""
    kinds: dict[str, set[str]] = {}
    nested: dict[str, list[Any]] = {}
    for row in rows:
        fields = row if isinstance(row, Mapping) else dict(enumerate(row))
        for key, value in fields.items():
            name = str(key) if isinstance(row, Mapping) else f"field_{key}"
            kinds.setdefault(name, set()).add(_kind(value))
            if isinstance(value, (Mapping, list)):
                nested.setdefault(name, []).append(value)
    fields = [
        {
            "name": name,
            "type": ["null", _type_of(name, found, nested.get(name, []))],
            "default": None,
        }
        for name, found in kinds.items()
    ]
    return {"type": "record", "name": "row", "fields": fields}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long"
    if isinstance(value, (float, Decimal)):
        return "double"
    if isinstance(value, Mapping):
        return "record"
    if isinstance(value, list):
        return "array"
    if isinstance(value, (datetime, Moment)):
        return "timestamp"
    return "date" if isinstance(value, date) else "string"


def _type_of(name: str, kinds: set[str], nested: list[Any]) -> Any:
    kinds = kinds - {"null"}
    if kinds <= {"long", "double"} and kinds:
        return "double" if "double" in kinds else "long"
    if kinds == {"boolean"}:
        return "boolean"
    if kinds == {"timestamp"}:
        return {"type": "long", "logicalType": "timestamp-micros"}
    if kinds == {"date"}:
        return {"type": "int", "logicalType": "date"}
    if kinds == {"record"}:
        return {**guessed_schema(nested), "name": f"{_plain(name)}_record"}
    if kinds == {"array"}:
        items = [item for value in nested for item in value]
        inner = {_kind(item) for item in items}
        below = [item for item in items if isinstance(item, (Mapping, list))]
        return {"type": "array", "items": ["null", _type_of(f"{name}_item", inner, below)]}
    return "string"


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char == "_" else "_" for char in name)


@dataclass(frozen=True, slots=True)
class Fitting:
    """Makes rows fit a schema, as text of CSV files does not by itself."""

    schema: Mapping[str, Any]
    true: tuple[str, ...] = TRUE
    false: tuple[str, ...] = FALSE
    null: tuple[str, ...] = NULL
    decimal_separator: str = "."
    strict: bool = False

    def record(self, row: Any, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the record of a map, or of a list in the order of the fields; raise Unfit."""
        fields = (schema or self.schema)["fields"]
        if isinstance(row, list):
            if self.strict and len(row) > len(fields):
                raise Unfit(f"the row has {len(row)} values, the schema {len(fields)} fields")
            row = {field["name"]: value for field, value in zip(fields, row, strict=False)}
        if not isinstance(row, Mapping):
            raise Unfit("the row is neither a map nor a list")
        unknown = row.keys() - {field["name"] for field in fields} if self.strict else ()
        if unknown:
            raise Unfit(f"the schema has no field `{sorted(map(str, unknown))[0]}`")
        return {field["name"]: self._field(row, field) for field in fields}

    def _field(self, row: Mapping[str, Any], field: Mapping[str, Any]) -> Any:
        name = field["name"]
        names = (name, *field.get("aliases", ()))
        value = next((row[one] for one in names if one in row), None)
        if value is None and "default" in field and not any(one in row for one in names):
            value = field["default"]
        try:
            return self.value(value, field["type"])
        except (ValueError, TypeError, ArithmeticError) as error:
            raise Unfit(f"field `{name}`: {error}") from error

    def value(self, value: Any, kind: Any) -> Any:
        """Return a value as a type of Avro has it; raise ValueError if it cannot be one."""
        if isinstance(kind, list):
            return self._union(value, kind)
        if isinstance(kind, Mapping):
            inner = kind["type"]
            if "logicalType" in kind:
                return self._logical(value, kind)
            if inner == "record":
                return self.record(value, kind)
            if inner == "array":
                found = json.loads(value) if isinstance(value, str) else value
                return [self.value(item, kind["items"]) for item in found]
            if inner == "map":
                found = json.loads(value) if isinstance(value, str) else value
                return {str(key): self.value(item, kind["values"]) for key, item in found.items()}
            if inner == "enum" and str(value) not in kind["symbols"]:
                raise ValueError(f"`{value}` is none of {', '.join(kind['symbols'])}")
            return str(value) if inner == "enum" else self.value(value, inner)
        return self._primitive(value, kind)

    def _union(self, value: Any, kinds: list[Any]) -> Any:
        if value is None and "null" in kinds:
            return None
        others = [kind for kind in kinds if kind != "null"]
        if (
            isinstance(value, str)
            and value in self.null
            and "null" in kinds
            and "string" not in kinds
        ):
            return None
        reasons = []
        for kind in others:
            try:
                return self.value(value, kind)
            except (ValueError, TypeError, ArithmeticError) as error:
                reasons.append(str(error))
        raise ValueError("; ".join(reasons) or "it must be null")

    def _primitive(self, value: Any, kind: str) -> Any:
        if kind == "null":
            if value is None or (isinstance(value, str) and value in self.null):
                return None
            raise ValueError(f"`{value}` is not null")
        if value is None:
            raise ValueError("it must not be null")
        if kind == "string":
            return value if isinstance(value, str) else _text(value)
        if kind == "boolean":
            return self._boolean(value)
        if kind in _NUMBERS:
            if isinstance(value, str):
                value = value.strip().replace(self.decimal_separator, ".")
            return int(Decimal(value)) if kind in ("int", "long") else float(value)
        if kind in ("bytes", "fixed"):
            return value.encode() if isinstance(value, str) else bytes(value)
        raise ValueError(f"`{kind}` is not a type that is known here")

    def _boolean(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text in self.true or text in self.false:
            return text in self.true
        raise ValueError(f"`{value}` is neither true nor false")

    def _logical(self, value: Any, kind: Mapping[str, Any]) -> Any:
        logical = kind["logicalType"]
        if value is None:
            raise ValueError("it must not be null")
        if logical == "decimal":
            text = value.replace(self.decimal_separator, ".") if isinstance(value, str) else value
            try:
                scale = Decimal(1).scaleb(-int(kind.get("scale", 0)))
                return Decimal(str(text)).quantize(scale)
            except InvalidOperation as error:
                raise ValueError(f"`{value}` is not a decimal number") from error
        if isinstance(value, Moment):
            value = value.when
        if logical == "date":
            found = datetime.fromisoformat(_iso(value)) if isinstance(value, str) else value
            return found.date() if isinstance(found, datetime) else found
        if logical.startswith("time-"):
            return time.fromisoformat(value) if isinstance(value, str) else value
        if logical.startswith(("timestamp-", "local-timestamp-")):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return value
            found = datetime.fromisoformat(_iso(value)) if isinstance(value, str) else value
            if isinstance(found, date) and not isinstance(found, datetime):
                found = datetime(found.year, found.month, found.day)
            when = to_utc(cast(datetime, found)).astimezone(timezone.utc)
            return when.replace(tzinfo=None) if logical.startswith("local-") else when
        return self.value(value, kind["type"])


def _iso(text: str) -> str:
    return text.strip().replace("Z", "+00:00")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
