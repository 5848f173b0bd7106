"""Reach into values: map keys, list indexes, and a fixed list of methods. Nothing of Python."""

from __future__ import annotations

from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.values import (
    Entry,
    LoopState,
    is_list,
    is_map,
    rank,
    type_word,
)

MISSING: Any = object()
"""There is no such key, index or attribute."""
_STATE_FIELDS = ("first", "index", "last", "length", "revindex")


def attribute(value: Any, key: Any, context: Context) -> Any:
    """Return `value[key]` (or `value.key`), MISSING if there is none; `value` is not null."""
    if is_map(value):
        return _entry(value, key)
    if is_list(value):
        index = _index(key)
        if index is not None:
            return value[index] if 0 <= index < len(value) else MISSING
    if isinstance(value, Entry):
        return {"key": value.key, "value": value.value}.get(key, MISSING)
    if isinstance(value, LoopState):
        return getattr(value, key) if key in _STATE_FIELDS else MISSING
    if isinstance(key, str):
        return call_method(value, key, (), context)
    return MISSING


def _entry(value: Any, key: Any) -> Any:
    if rank(key):
        first = next(iter(value), None)
        if not rank(first):
            raise ExpressionError(
                f"the map has no number keys, so `[{key}]` finds nothing in it",
                hint=f"write `['{key}']` for a text key",
            )
        key = int(key)
    elif key is None:
        raise ExpressionError("null is not a key")
    try:
        return value[key]
    except (KeyError, TypeError):
        return MISSING


def _index(key: Any) -> int | None:
    if isinstance(key, bool):
        return None
    if isinstance(key, int):
        return key
    if isinstance(key, str) and len(key) < 11 and key.lstrip("+-").isascii():
        digits = key[1:] if key[:1] in ("+", "-") else key
        return int(key) if digits.isdigit() else None
    return None


def call_method(value: Any, name: str, args: tuple[Any, ...], context: Context) -> Any:
    """Call a whitelisted method of a string, list, map or date; MISSING if there is none."""
    from kestra_dagster.expressions.methods import method

    function = method(value, name, len(args))
    if function is None:
        return MISSING
    try:
        return function(context, value, *args)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ExpressionError(
            f"`{name}` of {type_word(value)} cannot work with these arguments"
        ) from error


def names_in(value: Any) -> list[str]:
    """Return what can be reached in a value, for error messages."""
    if is_map(value):
        return [str(key) for key in value]
    if is_list(value):
        return [f"0 to {len(value) - 1}"] if len(value) else []
    return []
