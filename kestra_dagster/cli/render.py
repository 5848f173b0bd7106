"""`kestra-dagster render`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kestra_dagster.cli.values import read_map, to_json


@click.command()
@click.argument("template")
@click.option(
    "--vars",
    "variables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON file with a map of variables.",
)
@click.option("--typed", is_flag=True, help="Print the value as JSON, with its type.")
def render(template: str, variables: Path | None, typed: bool) -> None:
    """Render TEMPLATE, an expression of a flow; `-` reads it from standard input."""
    import kestra_dagster as kd

    text = sys.stdin.read() if template == "-" else template
    value = kd.render(text, read_map(variables) if variables else {}, typed=typed)
    click.echo(to_json(value) if typed else value)
