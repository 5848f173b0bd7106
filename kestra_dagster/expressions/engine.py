"""Parse and render: what the rest of the package calls."""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import lru_cache
from typing import Any

from kestra_dagster.expressions.context import MAX_RENDERINGS, Context
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.host import Host
from kestra_dagster.expressions.java_time import Moment
from kestra_dagster.expressions.template import Template, strip_raw
from kestra_dagster.expressions.text import print_text
from kestra_dagster.expressions.values import BigInteger, Entry, Float, Long, is_list, is_map

_CACHED_TEMPLATES = 1000
_LONGEST_CACHED = 100_000


@lru_cache(_CACHED_TEMPLATES)
def _cached(source: str) -> Template:
    return Template(source)


def parse(source: str) -> Template:
    """Return the compiled template; raise ExpressionSyntaxError at the first fault."""
    return _cached(source) if len(source) <= _LONGEST_CACHED else Template(source)


def render(
    source: str,
    variables: Mapping[str, Any],
    host: Host | None = None,
    *,
    recursive: bool = False,
) -> str:
    """Render a template to text.

    `recursive` renders until nothing changes, as Kestra did before 0.14; then `render()` is no
    function. A string without `{` is returned as it is.
    """
    if "{" not in source:
        return source
    if not recursive:
        return parse(source).render(variables, host)
    template = parse(source)
    context = Context(variables, host, template, recursive=True)
    return strip_raw(render_until_stable(source, context))


def render_until_stable(source: str, context: Context) -> str:
    """Render text again and again until it stays the same, at most 100 times."""
    text = source
    for _ in range(MAX_RENDERINGS + 1):
        if "{" not in text:
            return text
        before, template = text, parse(text)
        inner = Context(
            context.variables,
            context.host,
            template,
            context.budget,
            context.calls,
            context.recursive,
        )
        context.budget.spend(16)
        text = template.text(inner)
        if text == before:
            return text
    raise ExpressionLimitError(f"Too many rendering attempts: not stable after {MAX_RENDERINGS}")


def render_typed(value: Any, variables: Mapping[str, Any], host: Host | None = None) -> Any:
    """Render keeping types: a lone `{{ }}` gives its value; maps and lists go deep, keys too."""
    if isinstance(value, str):
        return plain(parse(value).value(variables, host)) if "{" in value else value
    return _deep(value, variables, host, render_typed)


def render_value(value: Any, variables: Mapping[str, Any], host: Host | None = None) -> Any:
    """Render every string of a value (keys too) to text; other scalars stay."""
    if isinstance(value, str):
        return render(value, variables, host)
    return _deep(value, variables, host, render_value)


def _deep(value: Any, variables: Mapping[str, Any], host: Host | None, each: Any) -> Any:
    if is_map(value):
        return {
            render(key, variables, host) if isinstance(key, str) else key: each(
                item, variables, host
            )
            for key, item in value.items()
        }
    if is_list(value):
        return [each(item, variables, host) for item in value]
    if isinstance(value, Set):
        return {each(item, variables, host) for item in value}
    return value


def plain(value: Any) -> Any:
    """Return a value in Python's own classes; lists and dicts that have only those are not copied.

    Numbers of the engine, dates with nanoseconds and maps of other classes are what changes.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is Long or kind is BigInteger:
        return int(value)
    if kind is Float:
        return float(print_text(value))
    if kind is Entry:
        return {plain(value.key): plain(value.value)}
    if kind is list:
        items = [plain(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    if is_map(value):
        mapped = {plain(key): plain(item) for key, item in value.items()}
        same = kind is dict and all(
            mapped.get(key) is item and type(key) is not Long for key, item in value.items()
        )
        return value if same else mapped
    if is_list(value):
        return [plain(item) for item in value]
    return value.to_python() if isinstance(value, Moment) else value


def truthy(text: str) -> bool:
    """Read a rendered `condition`, `runIf` or `when`: false for `false`, `0`, `-0` and nothing."""
    return text not in ("false", "0", "-0", "")


def render_nested(value: Any, context: Context, recursive: bool) -> Any:
    """Render a value inside of an expression (`render()`): strings and all below maps and lists."""
    if isinstance(value, str):
        if "{" not in value:
            return value
        inner = context.call(context.visible(), None)
        if recursive:
            return strip_raw(render_until_stable(value, inner))
        inner.template = parse(value)
        return strip_raw(inner.template.text(inner))
    if is_map(value):
        return {
            render_nested(key, context, recursive): render_nested(item, context, recursive)
            for key, item in value.items()
        }
    if is_list(value) or isinstance(value, Set):
        return [render_nested(item, context, recursive) for item in value]
    return value


__all__ = [
    "ExpressionError",
    "parse",
    "plain",
    "render",
    "render_nested",
    "render_typed",
    "render_until_stable",
    "render_value",
    "truthy",
]
