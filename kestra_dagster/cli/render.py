"""`kestra-dagster render`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set, Sized
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from kestra_dagster.cli.values import read_map, to_json


@click.command(short_help="Render an expression.")
@click.argument("template")
@click.option(
    "--vars",
    "variables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON file with a map of variables.",
)
@click.option(
    "--typed", is_flag=True, help="Keep the type: print the value as JSON, and below it what it is."
)
def render(template: str, variables: Path | None, typed: bool) -> None:
    """Render TEMPLATE, an expression of a flow; `-` reads it from standard input."""
    import kestra_dagster as kd

    text = sys.stdin.read() if template == "-" else template
    value = kd.render(text, read_map(variables) if variables else {}, typed=typed)
    if not typed:
        click.echo(value)
        return
    click.echo(to_json(value))
    click.echo(f"type: {type_of(value)}")


def type_of(value: Any) -> str:
    """Name the type of a rendered value in the words of a flow."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    kinds: tuple[tuple[Any, str], ...] = (
        (str, "string"),
        (int, "integer"),
        ((float, Decimal), "decimal"),
        (Mapping, f"map of {_count(value, 'entry', 'entries')}"),
        (datetime, "date and time"),
        (date, "date"),
        (timedelta, "duration"),
        ((bytes, bytearray), "bytes"),
        ((Sequence, Set), f"list of {_count(value, 'element', 'elements')}"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _count(value: Any, one: str, many: str) -> str:
    size = len(value) if isinstance(value, Sized) else 0
    return f"{size} {one if size == 1 else many}"
