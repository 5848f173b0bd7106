"""Filters on lists and maps."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.operators import compare, freeze
from kestra_dagster.expressions.tests import is_empty
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import (
    Entry,
    is_collection,
    is_list,
    is_map,
    rank,
    type_word,
)


def default(context: Context, value: Any, default: Any = None) -> Any:
    """Return another value for what is undefined, null or empty."""
    return default if is_empty(value) else value


def length(context: Context, value: Any) -> Any:
    """Return the number of characters, elements or entries; 0 for anything else."""
    if isinstance(value, str) or is_map(value) or is_collection(value):
        return len(value)
    return 0


def first(context: Context, value: Any) -> Any:
    """Return the first element or character, null of an empty list."""
    if value is None:
        return None
    if isinstance(value, str):
        if not value:
            raise ExpressionError("`first` of an empty string")
        return value[0]
    if not is_collection(value):
        raise ExpressionError(f"`first` needs a list or a string, not {type_word(value)}")
    return next(iter(value), None)


def last(context: Context, value: Any) -> Any:
    """Return the last element or character, null of an empty list."""
    if value is None:
        return None
    if isinstance(value, str):
        if not value:
            raise ExpressionError("`last` of an empty string")
        return value[-1]
    if not is_list(value):
        raise ExpressionError(f"`last` needs a list or a string, not {type_word(value)}")
    return value[-1] if len(value) else None


def join(context: Context, value: Any, separator: Any = None) -> Any:
    """Put the elements together as text."""
    if value is None:
        return None
    if not is_collection(value):
        raise ExpressionError(f"`join` needs a list, not {type_word(value)}")
    if separator is not None and not isinstance(separator, str):
        raise ExpressionError(f"`join` needs a string as separator, not {type_word(separator)}")
    context.budget.items(len(value))
    texts = [
        item if isinstance(item, str) else java_text(item, context.budget)
        for item in context.budget.watched(value)
    ]
    glue = separator or ""
    context.budget.text(sum(map(len, texts)) + len(glue) * len(texts))
    return glue.join(texts)


def reverse(context: Context, value: Any) -> Any:
    """Return a list in reverse."""
    if value is None:
        return None
    return list(_list(value, "reverse"))[::-1]


def sort(context: Context, value: Any) -> Any:
    """Return a list in its natural order."""
    return None if value is None else _sorted(context, value, "sort")


def rsort(context: Context, value: Any) -> Any:
    """Return a list in its natural order, reversed."""
    return None if value is None else _sorted(context, value, "rsort")[::-1]


def _sorted(context: Context, value: Any, name: str) -> list[Any]:
    items = list(_list(value, name))
    context.budget.items(len(items))
    kinds = {rank(item) or type(item).__name__ for item in items}
    if len(items) > 1 and (len(kinds) > 1 or is_map(items[0]) or is_collection(items[0])):
        raise ExpressionError(f"`{name}` needs elements of one kind that have an order")
    if all(isinstance(item, (str, bool)) or rank(item) for item in items):
        return sorted(items)
    if None in items:
        raise ExpressionError(f"`{name}` cannot order null")

    def order(left: Any, right: Any) -> int:
        context.budget.spend()
        return compare(left, right) or 0

    return sorted(items, key=cmp_to_key(order))


def slice_(context: Context, value: Any, fromIndex: Any = None, toIndex: Any = None) -> Any:
    """Return a part of a list or string; an end behind the last element raises."""
    if value is None:
        return None
    if not (isinstance(value, str) or is_list(value)):
        raise ExpressionError(f"`slice` needs a list or a string, not {type_word(value)}")
    size = len(value)
    start = 0 if fromIndex is None else _index(fromIndex, "fromIndex")
    end = size if toIndex is None else _index(toIndex, "toIndex")
    if start < 0:
        raise ExpressionError("`slice` needs a `fromIndex` that is not negative")
    if end > size:
        raise ExpressionError(f"`slice` goes to {end}, but there are only {size}")
    if start >= end if toIndex is not None else start > size:
        raise ExpressionError(f"`slice` starts at {start}, behind its end")
    return value[start:end] if isinstance(value, str) else list(value[start:end])


def _index(value: Any, name: str) -> int:
    if rank(value) and value == value and abs(value) < 1 << 62:
        return int(value)
    raise ExpressionError(f"`slice` needs a number as `{name}`, not {type_word(value)}")


def _list(value: Any, name: str) -> Any:
    if is_list(value):
        return value
    raise ExpressionError(f"`{name}` needs a list, not {type_word(value)}")


def merge(context: Context, value: Any, items: Any = None) -> Any:
    """Put two lists one after the other, or two maps over one another (the right one wins)."""
    if value is None and items is None:
        raise ExpressionError("`merge` has nothing to merge: both sides are null")
    if value is None or items is None:
        return items if value is None else value
    if is_map(value):
        if is_map(items):
            return {**value, **items}
        if is_list(items):
            return {**value, **{item: item for item in items}}
        raise ExpressionError(f"`merge` cannot put {type_word(items)} into a map")
    if is_list(value):
        if is_map(items):
            items = [Entry(key, item) for key, item in items.items()]
        elif not is_list(items):
            raise ExpressionError(f"`merge` cannot put {type_word(items)} into a list")
        context.budget.items(len(value) + len(items))
        return [*value, *items]
    raise ExpressionError(f"`merge` needs a list or a map, not {type_word(value)}")


def chunk(context: Context, value: Any, size: Any = None) -> Any:
    """Cut a list into lists of `size` elements, the last one may be shorter."""
    if value is None:
        return None
    items = list(_list(value, "chunk"))
    if not rank(size) or size < 1:
        raise ExpressionError("`chunk` needs a size of 1 or more")
    step = int(min(size, len(items) + 1))
    return [items[start : start + step] for start in range(0, len(items), step)]


def flatten(context: Context, value: Any) -> Any:
    """Put the elements of inner lists in their place, one level deep."""
    if value is None:
        return None
    flat: list[Any] = []
    for item in _list(value, "flatten"):
        flat.extend(item) if is_list(item) else flat.append(item)
        context.budget.items(len(flat))
    return flat


def distinct(context: Context, value: Any) -> Any:
    """Return every element once, in the order of first appearance."""
    if value is None:
        return "null"
    seen: dict[Any, Any] = {}
    for item in _list(value, "distinct"):
        seen.setdefault(freeze(item, context.budget), item)
    return list(seen.values())


def keys(context: Context, value: Any) -> Any:
    """Return the keys of a map or the indexes of a list."""
    if value is None:
        return None
    if is_map(value):
        return list(value)
    if is_list(value):
        return list(range(len(value)))
    raise ExpressionError(f"`keys` needs a map or a list, not {type_word(value)}")


def values(context: Context, value: Any) -> Any:
    """Return the values of a map."""
    if value is None:
        return None
    if is_map(value):
        return list(value.values())
    raise ExpressionError(f"`values` needs a map, not {type_word(value)}")
