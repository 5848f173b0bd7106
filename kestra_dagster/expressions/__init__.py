"""Pebble expressions as Kestra speaks them: parse, render, analyse.

Names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kestra_dagster.expressions.engine import (
        parse,
        render,
        render_typed,
        render_value,
        truthy,
    )
    from kestra_dagster.expressions.errors import (
        ExpressionError,
        ExpressionLimitError,
        ExpressionSyntaxError,
        UndefinedVariable,
    )
    from kestra_dagster.expressions.host import Host
    from kestra_dagster.expressions.reads import Reference, references
    from kestra_dagster.expressions.template import Template

__all__ = [
    "ExpressionError",
    "ExpressionLimitError",
    "ExpressionSyntaxError",
    "Host",
    "Reference",
    "Template",
    "UndefinedVariable",
    "parse",
    "references",
    "render",
    "render_typed",
    "render_value",
    "truthy",
]

_HOMES = {
    "engine": ("parse", "render", "render_typed", "render_value", "truthy"),
    "errors": (
        "ExpressionError",
        "ExpressionLimitError",
        "ExpressionSyntaxError",
        "UndefinedVariable",
    ),
    "host": ("Host",),
    "reads": ("Reference", "references"),
    "template": ("Template",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
