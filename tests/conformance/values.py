"""Compare one expected value with an actual one: literals, matchers, symbols, paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

Symbols = Callable[[str], Any]
"""Gives the value of a symbol such as `execution id`; raises KeyError for an unknown one."""

_SYMBOL = re.compile(r"<([^<>]+)>")


class Absent:
    """Stands for a value that is not there."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


def difference(expected: Any, actual: Any, symbols: Symbols) -> str | None:
    """Return how `actual` differs from what is expected, None if it does not."""
    if isinstance(expected, Mapping) and expected and set(expected) <= set(_MATCHERS):
        for name, wanted in expected.items():
            if not _MATCHERS[name](wanted, actual, symbols):
                return f"expected {{{name}: {_shown(wanted)}}}, got {_shown(actual)}"
        return None
    if isinstance(expected, str):
        expected = resolved(expected, symbols)
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _map_difference(expected, actual, symbols)
    if isinstance(expected, list) and isinstance(actual, (list, tuple)):
        return _list_difference(expected, actual, symbols)
    if _equal(expected, actual):
        return None
    return f"expected {_shown(expected)}, got {_shown(actual)}"


def resolved(text: str, symbols: Symbols) -> Any:
    """Return the value of a symbol, and any other text as it is."""
    found = _SYMBOL.fullmatch(text)
    return symbols(found[1]) if found else text


def _map_difference(expected: Mapping[Any, Any], actual: Mapping[Any, Any], symbols: Symbols):
    for key in expected:
        found = difference(expected[key], actual.get(key, ABSENT), symbols)
        if found:
            return f"`{key}`: {found}"
    more = [key for key in actual if key not in expected]
    return f"unexpected {_shown(more)} in {_shown(dict(actual))}" if more else None


def _list_difference(expected: Sequence[Any], actual: Sequence[Any], symbols: Symbols):
    if len(expected) != len(actual):
        return f"expected {len(expected)} values {_shown(expected)}, got {_shown(actual)}"
    for index, (wanted, got) in enumerate(zip(expected, actual, strict=True)):
        found = difference(wanted, got, symbols)
        if found:
            return f"[{index}]: {found}"
    return None


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    return bool(expected == actual)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _text(actual: Any) -> str | None:
    return None if actual is ABSENT or actual is None else str(actual)


def _contains(wanted: Any, actual: Any, symbols: Symbols) -> bool:
    wanted = resolved(wanted, symbols) if isinstance(wanted, str) else wanted
    if isinstance(actual, (list, tuple, Mapping)):
        return wanted in actual
    text = _text(actual)
    return text is not None and str(wanted) in text


def _regex(wanted: str, actual: Any, _symbols: Symbols) -> bool:
    text = _text(actual)
    return text is not None and re.search(wanted, text) is not None


def _startswith(wanted: str, actual: Any, _symbols: Symbols) -> bool:
    return (_text(actual) or "").startswith(wanted)


def _endswith(wanted: str, actual: Any, _symbols: Symbols) -> bool:
    return (_text(actual) or "").endswith(wanted)


def _not(wanted: Any, actual: Any, symbols: Symbols) -> bool:
    return actual is not ABSENT and difference(wanted, actual, symbols) is not None


def _exists(wanted: bool, actual: Any, _symbols: Symbols) -> bool:
    return (actual is not ABSENT and actual is not None) == wanted


def _any_of(wanted: Sequence[Any], actual: Any, symbols: Symbols) -> bool:
    return any(difference(choice, actual, symbols) is None for choice in wanted)


def _unordered(wanted: Sequence[Any], actual: Any, symbols: Symbols) -> bool:
    if not isinstance(actual, (list, tuple)) or len(actual) != len(wanted):
        return False
    left = list(actual)
    for one in wanted:
        index = next((i for i, got in enumerate(left) if not difference(one, got, symbols)), None)
        if index is None:
            return False
        del left[index]
    return True


def _near_now(seconds: float, actual: Any, _symbols: Symbols) -> bool:
    try:
        moment = datetime.fromisoformat(str(actual).replace("Z", "+00:00"))
    except ValueError:
        return False
    return abs((datetime.now(timezone.utc) - moment).total_seconds()) <= seconds


_MATCHERS: Mapping[str, Callable[[Any, Any, Symbols], bool]] = {
    "contains": _contains,
    "regex": _regex,
    "startswith": _startswith,
    "endswith": _endswith,
    "not": _not,
    "exists": _exists,
    "any_of": _any_of,
    "unordered": _unordered,
    "datetime_within_seconds_of_now": _near_now,
}

_PYTHON_TYPES: Mapping[str, type] = {
    "instant": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
}


def typed_difference(expected: Any, actual: Any, symbols: Symbols) -> str | None:
    """Like `difference`, where `{type: instant, value: ...}` is a value of that Java type.

    ISO text counts as such a value: inputs are text in an execution, and say what they are.
    """
    if isinstance(expected, Mapping) and set(expected) == {"type", "value"}:
        kind = _PYTHON_TYPES.get(expected["type"])
        if kind is None:
            return f"no Python type for `{expected['type']}`"
        if isinstance(actual, str):
            actual = _read(expected["type"], actual)
        if not isinstance(actual, kind):
            return f"expected a {kind.__name__}, got {_shown(actual)}"
        wanted = _read(expected["type"], expected["value"])
        return None if wanted == actual else f"expected {wanted!r}, got {actual!r}"
    maps = isinstance(expected, Mapping) and isinstance(actual, Mapping)
    if maps and not set(expected) <= set(_MATCHERS):
        for key, wanted in expected.items():
            found = typed_difference(wanted, actual.get(key, ABSENT), symbols)
            if found:
                return f"`{key}`: {found}"
        return None
    return difference(expected, actual, symbols)


def _read(kind: str, text: str) -> Any:
    if kind == "instant":
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    if kind == "date":
        return date.fromisoformat(text)
    if kind == "time":
        return time.fromisoformat(text)
    from kestra_dagster.flow.properties import parse_duration

    return parse_duration(text)


def at_path(tree: Any, path: str) -> Any:
    """Return the value at `a/b/c` in nested data, ABSENT if there is none; keys may hold `/`."""
    return _walk(tree, path.split("/"))


def _walk(tree: Any, parts: list[str]) -> Any:
    if not parts:
        return tree
    for size in range(1, len(parts) + 1):
        key = "/".join(parts[:size])
        if isinstance(tree, Mapping) and key in tree:
            found = _walk(tree[key], parts[size:])
        elif isinstance(tree, (list, tuple)) and key.lstrip("-").isdigit():
            found = _walk(tree[int(key)], parts[size:]) if int(key) < len(tree) else ABSENT
        else:
            continue
        if found is not ABSENT:
            return found
    return ABSENT
