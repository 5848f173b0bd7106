"""Turn values into text: what `{{ }}` prints, Java's toString, and JSON as Jackson writes it."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal
from enum import Enum
from json import loads
from json.encoder import encode_basestring
from typing import Any

from kestra_dagster.expressions.context import Budget
from kestra_dagster.expressions.errors import ExpressionLimitError
from kestra_dagster.expressions.numbers import double_text, float_text
from kestra_dagster.expressions.values import Entry, Float, Long, LoopState, is_list, is_map

_MAX_DEPTH = 100
_SMALL = 1 << 64
_MAX_BITS = 13_000
"""Python refuses to write more than 4300 digits."""


def print_text(value: Any, budget: Budget | None = None) -> str:
    """Return what `{{ value }}` prints: JSON for maps and lists, nothing for null."""
    if isinstance(value, str):
        return _plain_str(value)
    if value is None:
        return ""
    if is_map(value) or is_list(value) or isinstance(value, Set):
        return json_text(value, budget)
    return scalar_text(value)


def java_text(value: Any, budget: Budget | None = None) -> str:
    """Return Java's `String.valueOf`: `null`, `[a, b]`, `{k=v}`, scalars as printed."""
    if isinstance(value, str):
        return _plain_str(value)
    if value is None:
        return "null"
    if is_map(value) or is_list(value) or isinstance(value, Set):
        parts: list[str] = []
        _java_parts(value, parts, budget or Budget(), 0)
        return "".join(parts)
    return scalar_text(value)


def json_text(value: Any, budget: Budget | None = None) -> str:
    """Return compact JSON; null entries of maps are left out, as Kestra's mapper does."""
    parts: list[str] = []
    _JsonWriter(parts, budget or Budget()).write(value, 0)
    return "".join(parts)


def json_tree(value: Any, budget: Budget, depth: int = 0) -> Any:
    """Return a value as its JSON would be read, but with its numbers as they are."""
    _deeper(depth)
    budget.spend()
    if value is None or isinstance(value, (str, bool)):
        return _plain_str(value) if isinstance(value, str) else value
    if is_map(value):
        return {
            key if type(key) is str else java_text(key, budget): json_tree(item, budget, depth + 1)
            for key, item in value.items()
            if item is not None
        }
    if is_list(value) or isinstance(value, Set):
        return [json_tree(item, budget, depth + 1) for item in value]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, Enum):
        return value
    return loads(json_text(value, budget))


def scalar_text(value: Any) -> str:
    """Return the text of a value that is no map, list or null."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise ExpressionLimitError("the number has too many digits to write")
        return int.__repr__(value)
    if isinstance(value, float):
        return float_text(value) if isinstance(value, Float) else double_text(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Entry):
        return f"{java_text(value.key)}={java_text(value.value)}"
    if isinstance(value, LoopState):
        return (
            f"{{last={scalar_text(value.last)}, length={value.length}, index={value.index}, "
            f"revindex={value.revindex}, first={scalar_text(value.first)}}}"
        )
    from kestra_dagster.expressions.java_time import time_text

    text = time_text(value)
    return text if text is not None else str(value)


def _plain_str(value: str) -> str:
    return str(value.value) if isinstance(value, Enum) else value


def _java_parts(value: Any, parts: list[str], budget: Budget, depth: int) -> None:
    _deeper(depth)
    budget.spend()
    if is_map(value):
        parts.append("{")
        for index, (key, item) in enumerate(value.items()):
            parts.append(", " if index else "")
            _java_parts(key, parts, budget, depth + 1)
            parts.append("=")
            _java_parts(item, parts, budget, depth + 1)
        parts.append("}")
    elif is_list(value) or isinstance(value, Set):
        parts.append("[")
        for index, item in enumerate(value):
            parts.append(", " if index else "")
            _java_parts(item, parts, budget, depth + 1)
        parts.append("]")
    else:
        parts.append(java_text(value))


def _deeper(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ExpressionLimitError(f"the value is nested more than {_MAX_DEPTH} levels deep")


class _JsonWriter:
    """Writes into a list of parts and counts what it writes: shared values could blow up."""

    def __init__(self, parts: list[str], budget: Budget) -> None:
        self.parts = parts
        self.budget = budget
        self.length = 0

    def add(self, text: str) -> None:
        self.length += len(text)
        if len(text) > 1000:
            self.budget.text(self.length)
        self.parts.append(text)

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            self.add(encode_basestring(value))
        elif (kind is int or kind is Long) and -_SMALL < value < _SMALL:
            self.parts.append(int.__repr__(value))
        elif value is None:
            self.add("null")
        elif kind is dict or is_map(value):
            self.map(value, depth)
        elif kind is list or is_list(value) or isinstance(value, Set):
            self.list(value, depth)
        elif isinstance(value, Entry):
            self.map({value.key: value.value}, depth)
        else:
            self.scalar(value)

    def map(self, value: Any, depth: int) -> None:
        _deeper(depth)
        self.budget.spend()
        self.parts.append("{")
        first = True
        for key, item in value.items():
            if item is None:
                continue
            if not first:
                self.parts.append(",")
            first = False
            text = key if type(key) is str else java_text(key, self.budget)
            self.add(encode_basestring(text))
            self.parts.append(":")
            self.write(item, depth + 1)
        self.parts.append("}")

    def list(self, value: Any, depth: int) -> None:
        _deeper(depth)
        self.budget.spend(1 + (len(value) >> 1))
        self.budget.text(self.length)
        self.parts.append("[")
        first = True
        for item in self.budget.watched(value) if len(value) > 1000 else value:
            if not first:
                self.parts.append(",")
            first = False
            self.write(item, depth + 1)
        self.parts.append("]")

    def scalar(self, value: Any) -> None:
        if isinstance(value, (bool, int, float, Decimal)) and not isinstance(value, Enum):
            text = scalar_text(value)
            self.add(f'"{text}"' if text in ("NaN", "Infinity", "-Infinity") else text)
            return
        if isinstance(value, (bytes, bytearray)):
            from base64 import b64encode

            self.add(f'"{b64encode(value).decode()}"')
            return
        from kestra_dagster.expressions.java_time import time_json

        text = time_json(value)
        self.add(text if text is not None else encode_basestring(java_text(value)))
