"""Access paths as their author wrote them, and what to say of one that leads nowhere."""

from __future__ import annotations

from typing import Any

from kestra_dagster.expressions.attributes import names_in
from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import UndefinedVariable
from kestra_dagster.expressions.nodes import Attribute, Call, Literal, Name, Node
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import is_list, is_map, type_word

_CHANGES_A_LIST = frozenset({"add", "addall", "addfirst", "addlast", "remove", "removeif", "clear"})
_CHANGES_A_MAP = frozenset({"put", "putall", "putifabsent", "remove", "clear"})


def constant_path(node: Node) -> list[str] | None:
    """Return the keys of `a.b['c']` from the root, None if a part is computed."""
    keys: list[str] = []
    while isinstance(node, Attribute):
        if node.args is not None or not isinstance(node.key, Literal):
            return None
        if not isinstance(node.key.value, str):
            return None
        keys.append(node.key.value)
        node = node.target
    if not isinstance(node, Name):
        return None
    keys.append(node.name)
    return keys[::-1]


def undefined_name(name: str, context: Context, source: str, offset: int) -> UndefinedVariable:
    visible = context.visible()
    return UndefinedVariable(name, name, lambda: visible, expression=source, offset=offset)


def undefined_key(node: Attribute, value: Any, key: Any, source: str) -> UndefinedVariable:
    text = key if isinstance(key, str) else java_text(key)
    parent = path_text(node.target)
    name = f"{parent}.{text}" if text.isidentifier() else f"{parent}['{text}']"
    if not isinstance(key, str):
        name = f"{parent}[{text}]"
    reason = None
    if value is None:
        reason = f"`{parent}` is null, so it has no `{text}`"
    elif not (is_map(value) or is_list(value)) or node.args is not None:
        what = f"method `{text}` with {len(node.args)} arguments" if node.args else f"`{text}`"
        reason = f"`{parent}` is {type_word(value)}, so it has no {what}"
    return UndefinedVariable(
        name,
        text,
        lambda: names_in(value),
        reason=reason,
        advice=None if node.args is None else _instead_of_changing(parent, value, text),
        expression=source,
        offset=node.offset,
    )


def _instead_of_changing(parent: str, value: Any, method: str) -> str | None:
    """Say how to write what Java would do by a method that changes the list or map."""
    if is_list(value) and method.lower() in _CHANGES_A_LIST:
        return f"templates change no list; write `{{% set x = {parent} + [value] %}}`"
    if is_map(value) and method.lower() in _CHANGES_A_MAP:
        return f"templates change no map; write `{{% set x = {parent} | merge({{'k': value}}) %}}`"
    return None


def path_text(node: Node) -> str:
    """Write an access path the way its author would, `…` for what is computed."""
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Call):
        return f"{node.name}()"
    if isinstance(node, Attribute):
        key = node.key.value if isinstance(node.key, Literal) else None
        if isinstance(key, str) and key.isidentifier():
            call = "()" if node.args is not None else ""
            return f"{path_text(node.target)}.{key}{call}"
        inner = f"'{key}'" if isinstance(key, str) else path_text(node.key) if key is None else key
        return f"{path_text(node.target)}[{inner}]"
    if isinstance(node, Literal):
        return java_text(node.value)
    return "…"
