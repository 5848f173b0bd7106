"""The tests behind `is`; `defined` is with the evaluator, which catches undefined names for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.values import (
    BIG_INTEGER,
    INTEGER,
    LONG,
    is_collection,
    is_map,
    rank,
    type_word,
)


def is_empty(value: Any) -> bool:
    """Say whether a value is null, blank, or has no elements."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    return (is_map(value) or is_collection(value)) and not len(value)


def is_even(value: Any) -> bool:
    """Say whether a whole number is even."""
    if rank(value) not in (INTEGER, LONG, BIG_INTEGER):
        raise ExpressionError(f"`is even` and `is odd` need a whole number, not {type_word(value)}")
    return int(value) % 2 == 0


def is_json(value: Any) -> bool:
    """Say whether a string parses as JSON; the empty string does, as in Kestra."""
    if not isinstance(value, str):
        return False
    if not value.strip():
        return True
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


TEST_FUNCTIONS: dict[str, Callable[[Any], bool]] = {
    "empty": is_empty,
    "even": is_even,
    "iterable": is_collection,
    "json": is_json,
    "map": is_map,
    "null": lambda value: value is None,
    "odd": lambda value: not is_even(value),
}
