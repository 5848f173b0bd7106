"""What a case gives to an execution: inputs with files and long texts written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conformance.values import resolved

LINE_WIDTH = 20


def given_inputs(
    inputs: Mapping[str, Any] | None, folder: Path, symbols: Callable[[str], Any]
) -> dict[str, Any]:
    """Return inputs with `{$file: ...}` as a Path in `folder`, `{$repeat: [text, n]}` as text."""
    return {name: _given(value, folder, symbols) for name, value in (inputs or {}).items()}


def _given(value: Any, folder: Path, symbols: Callable[[str], Any]) -> Any:
    if isinstance(value, Mapping) and set(value) == {"$file"}:
        return _file(value["$file"], folder, symbols)
    if isinstance(value, Mapping) and set(value) == {"$repeat"}:
        text, times = value["$repeat"]
        return text * times
    if isinstance(value, Mapping):
        return {name: _given(one, folder, symbols) for name, one in value.items()}
    if isinstance(value, list):
        return [_given(one, folder, symbols) for one in value]
    return resolved(value, symbols) if isinstance(value, str) else value


def _file(described: Mapping[str, Any], folder: Path, symbols: Callable[[str], Any]) -> Path:
    known = {"name", "content", "lines", "line_template"}
    if not set(described) <= known:
        raise AssertionError(f"the runner does not know the file key {set(described) - known}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / described["name"]
    if "lines" in described:
        lines = [_line(described.get("line_template"), n) for n in range(described["lines"])]
        path.write_text("".join(f"{line}\n" for line in lines))
    else:
        path.write_text(str(resolved(described.get("content", ""), symbols)))
    return path


def _line(template: str | None, number: int) -> str:
    """Write a line as its template says in words (`number i left-padded ...`), or with `{i}`."""
    if template and "{i}" in template:
        return template.replace("{i}", str(number))
    return f"{number:>{LINE_WIDTH}}"
