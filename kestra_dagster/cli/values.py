"""Values that come in as files and options and go out as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click


def read_map(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a map, by the rules for flows; else a usage error."""
    from kestra_dagster.flow.reader import read_value

    try:
        content = read_value(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise click.UsageError(f"`{path}` is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise click.UsageError(f"`{path}` has to hold a map of names to values")
    return content


def read_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """Read `key=value` options; the value may hold further `=`."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"`{pair}` is not of the form key=value")
        found[key] = value
    return found


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON: times as ISO 8601, durations in seconds, the rest as text."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
