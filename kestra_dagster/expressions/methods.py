"""The methods of Java's strings, lists, maps and numbers that a template may call.

Pebble finds any public method by reflection; here only these exist. Names are compared without
case, and `x.size`, `x.empty` or `date.year` reach `size()`, `isEmpty()` and `getYear()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kestra_dagster.expressions import regexes
from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.operators import compare, equals, freeze
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import (
    Entry,
    Float,
    Long,
    is_collection,
    is_list,
    is_map,
    rank,
    whole_number,
)

Method = Callable[..., Any]
_CONTROL = "".join(map(chr, range(33)))
_PREFIXES = ("", "get", "is", "has")


def method(value: Any, name: str, count: int) -> Method | None:
    """Return the function `(context, value, *args)` behind a method with so many arguments."""
    table = _table(value)
    lower = name.lower()
    for prefix in _PREFIXES:
        found = table.get((prefix + lower, count)) or _ANY.get((prefix + lower, count))
        if found is not None:
            return found
    return None


def _table(value: Any) -> Mapping[tuple[str, int], Method]:
    if isinstance(value, str):
        return _STRING
    if isinstance(value, Entry):
        return _ENTRY
    if rank(value):
        return _NUMBER
    if is_map(value):
        return _MAP
    if is_list(value):
        return _LIST
    if is_collection(value):
        return _COLLECTION
    from kestra_dagster.expressions.methods_dates import table_of

    return table_of(value)


def whole(value: Any) -> int:
    """Return an argument that has to be a whole number."""
    number = whole_number(value)
    if number is not None:
        return number
    raise ExpressionError(f"a whole number is needed, not `{java_text(value)[:40]}`")


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ExpressionError(f"a string is needed, not `{java_text(value)[:40]}`")


def _substring(context: Context, text: str, start: Any, end: Any = None) -> str:
    first = whole(start)
    last = len(text) if end is None else whole(end)
    if not 0 <= first <= last <= len(text):
        raise ExpressionError(f"begin {first}, end {last}, length {len(text)}: outside of the text")
    return text[first:last]


def _char_at(context: Context, text: str, index: Any) -> str:
    position = whole(index)
    if not 0 <= position < len(text):
        raise ExpressionError(f"index {position} is outside of a text of {len(text)}")
    return text[position]


def _replace(context: Context, text: str, old: Any, new: Any) -> str:
    before, after = _string(old), _string(new)
    context.budget.text(len(text) + text.count(before) * max(0, len(after) - len(before)))
    return text.replace(before, after)


def _repeat(context: Context, text: str, count: Any) -> str:
    times = whole(count)
    if times < 0:
        raise ExpressionError("a text cannot be repeated a negative number of times")
    context.budget.text(len(text) * times)
    return text * times


def _concat(context: Context, text: str, more: Any) -> str:
    context.budget.text(len(text) + len(_string(more)))
    return text + more


def _starts_with(context: Context, text: str, prefix: Any, offset: Any = 0) -> bool:
    return text.startswith(_string(prefix), max(0, whole(offset)))


def _index_of(context: Context, text: str, part: Any, start: Any = 0) -> int:
    return text.find(_string(part), max(0, whole(start)))


def _split(context: Context, text: str, pattern: Any, limit: Any = 0) -> list[str]:
    return regexes.split(_string(pattern), text, whole(limit), context)


def _compare(context: Context, left: Any, right: Any) -> int:
    order = compare(left, right)
    if order is None:
        raise ExpressionError("null has no order")
    return order


_STRING: dict[tuple[str, int], Method] = {
    ("length", 0): lambda context, text: len(text),
    ("isempty", 0): lambda context, text: not text,
    ("isblank", 0): lambda context, text: not text.strip(),
    ("touppercase", 0): lambda context, text: text.upper(),
    ("tolowercase", 0): lambda context, text: text.lower(),
    ("trim", 0): lambda context, text: text.strip(_CONTROL),
    ("strip", 0): lambda context, text: text.strip(),
    ("stripleading", 0): lambda context, text: text.lstrip(),
    ("striptrailing", 0): lambda context, text: text.rstrip(),
    ("lines", 0): lambda context, text: text.splitlines(),
    ("tochararray", 0): lambda context, text: list(text),
    ("substring", 1): _substring,
    ("substring", 2): _substring,
    ("charat", 1): _char_at,
    ("indexof", 1): _index_of,
    ("indexof", 2): _index_of,
    ("lastindexof", 1): lambda context, text, part: text.rfind(_string(part)),
    ("contains", 1): lambda context, text, part: _string(part) in text,
    ("startswith", 1): _starts_with,
    ("startswith", 2): _starts_with,
    ("endswith", 1): lambda context, text, suffix: text.endswith(_string(suffix)),
    ("replace", 2): _replace,
    ("replaceall", 2): lambda context, text, pattern, new: regexes.replace_all(
        _string(pattern), _string(new), text, context
    ),
    ("replacefirst", 2): lambda context, text, pattern, new: regexes.replace_all(
        _string(pattern), _string(new), text, context, 1
    ),
    ("split", 1): _split,
    ("split", 2): _split,
    ("matches", 1): lambda context, text, pattern: regexes.matches(_string(pattern), text, context),
    ("concat", 1): _concat,
    ("repeat", 1): _repeat,
    ("equalsignorecase", 1): lambda context, text, other: (
        isinstance(other, str) and text.casefold() == other.casefold()
    ),
    ("compareto", 1): lambda context, text, other: _compare(context, text, _string(other)),
    ("comparetoignorecase", 1): lambda context, text, other: _compare(
        context, text.lower(), _string(other).lower()
    ),
    ("intern", 0): lambda context, text: text,
}


def _element(context: Context, items: Any, index: Any) -> Any:
    position = whole(index)
    if not 0 <= position < len(items):
        raise ExpressionError(f"index {position} is outside of a list of {len(items)}")
    return items[position]


def _edge(index: int) -> Method:
    def edge(context: Context, items: Any) -> Any:
        if not items:
            raise ExpressionError("the list is empty")
        return items[index]

    return edge


def _sub_list(context: Context, items: Any, start: Any, end: Any) -> list[Any]:
    first, last = whole(start), whole(end)
    if not 0 <= first <= last <= len(items):
        raise ExpressionError(f"{first} to {last} is outside of a list of {len(items)}")
    return list(items[first:last])


def _position(context: Context, items: Any, wanted: Any, backwards: bool = False) -> int:
    context.budget.items(len(items))
    target = freeze(wanted, context.budget)
    places = range(len(items) - 1, -1, -1) if backwards else range(len(items))
    return next((at for at in places if freeze(items[at], context.budget) == target), -1)


def _has(context: Context, items: Any, wanted: Any) -> bool:
    context.budget.items(len(items))
    target = freeze(wanted, context.budget)
    return any(freeze(item, context.budget) == target for item in items)


def _has_all(context: Context, items: Any, wanted: Any) -> bool:
    if not is_collection(wanted):
        raise ExpressionError("`containsAll` needs a list")
    context.budget.items(len(items) + len(wanted))
    there = {freeze(item, context.budget) for item in items}
    return all(freeze(item, context.budget) in there for item in wanted)


_COLLECTION: dict[tuple[str, int], Method] = {
    ("size", 0): lambda context, items: len(items),
    ("isempty", 0): lambda context, items: not len(items),
    ("contains", 1): _has,
    ("containsall", 1): _has_all,
}
_LIST: dict[tuple[str, int], Method] = {
    **_COLLECTION,
    ("get", 1): _element,
    ("getfirst", 0): _edge(0),
    ("getlast", 0): _edge(-1),
    ("reversed", 0): lambda context, items: list(items)[::-1],
    ("sublist", 2): _sub_list,
    ("indexof", 1): _position,
    ("lastindexof", 1): lambda context, items, wanted: _position(context, items, wanted, True),
}


def _value(context: Context, entries: Any, key: Any, default: Any = None) -> Any:
    try:
        return entries.get(key, default)
    except TypeError:
        return default


def _has_key(context: Context, entries: Any, key: Any) -> bool:
    try:
        return key in entries
    except TypeError:
        return False


_MAP: dict[tuple[str, int], Method] = {
    ("size", 0): lambda context, entries: len(entries),
    ("isempty", 0): lambda context, entries: not len(entries),
    ("get", 1): _value,
    ("getordefault", 2): _value,
    ("containskey", 1): _has_key,
    ("containsvalue", 1): lambda context, entries, wanted: _has(
        context, list(entries.values()), wanted
    ),
    ("keyset", 0): lambda context, entries: list(entries),
    ("values", 0): lambda context, entries: list(entries.values()),
    ("entryset", 0): lambda context, entries: [Entry(key, value) for key, value in entries.items()],
}
_ENTRY: dict[tuple[str, int], Method] = {
    ("getkey", 0): lambda context, entry: entry.key,
    ("getvalue", 0): lambda context, entry: entry.value,
}


def _to_int(value: Any, bits: int) -> int:
    """Convert as Java narrows: floats are cut and bounded, whole numbers lose their upper bits."""
    high = 1 << (bits - 1)
    if not isinstance(value, int):
        if value != value:
            return 0
        return int(max(-high, min(high - 1, value)))
    return ((int(value) + high) & ((1 << bits) - 1)) - high


_NUMBER: dict[tuple[str, int], Method] = {
    ("intvalue", 0): lambda context, number: _to_int(number, 32),
    ("longvalue", 0): lambda context, number: Long(_to_int(number, 64)),
    ("doublevalue", 0): lambda context, number: float(number),
    ("floatvalue", 0): lambda context, number: Float(float(number)),
    ("compareto", 1): _compare,
}
_ANY: dict[tuple[str, int], Method] = {
    ("tostring", 0): lambda context, value: java_text(value, context.budget),
    ("equals", 1): lambda context, value, other: (
        (rank(value) == rank(other)) and equals(value, other, context.budget)
    ),
}
