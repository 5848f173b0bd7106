"""jq programs that only walk (`.a.b[0]`, `.[] | .id`, `.a, .b`), without jq.

Most programs in flows are of this kind. Walking keeps whole numbers of any size and `1.0` as they
are, which jq turns into the nearest double.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from kestra_dagster.expressions.context import Budget

_STEP = re.compile(
    r"\s*(?:\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\.\s*\"(?P<quoted>[^\"\\]*)\""
    r"|\.?\[\s*(?:\"(?P<key>[^\"\\]*)\"|(?P<index>-?\d{1,9})|)\s*\])(?P<optional>\??)"
)
_IDENTITY = re.compile(r"\s*\.(?=\s*(?:[|,]|\Z))")
_SEPARATOR = re.compile(r"\s*([|,])")

Step = Callable[[Any], Iterator[Any]]
Path = tuple[Step, ...]


class CannotWalk(ValueError):
    """A value has no such part; the message is jq's."""


@lru_cache(256)
def walk_of(program: str) -> tuple[tuple[Path, ...], ...] | None:
    """Return the stages of a program, each a list of paths; None if it does more than walk."""
    stages: list[tuple[Path, ...]] = []
    paths: list[Path] = []
    position = 0
    while True:
        found = _path(program, position)
        if found is None:
            return None
        path, position = found
        paths.append(path)
        separator = _SEPARATOR.match(program, position)
        if separator is None or separator.group(1) == "|":
            stages.append(tuple(paths))
            paths = []
        if separator is None:
            return tuple(stages) if not program[position:].strip() else None
        position = separator.end()


def _path(program: str, position: int) -> tuple[Path, int] | None:
    if identity := _IDENTITY.match(program, position):
        return (), identity.end()
    steps: list[Step] = []
    while found := _STEP.match(program, position):
        if not steps and not found.group().lstrip().startswith("."):
            return None
        steps.append(_step(found))
        position = found.end()
    return (tuple(steps), position) if steps else None


def _step(found: re.Match[str]) -> Step:
    optional = bool(found["optional"])
    name = next((found[key] for key in ("name", "quoted", "key") if found[key] is not None), None)
    if name is not None:
        return lambda value: _member(value, name, optional)
    if found["index"] is not None:
        index = int(found["index"])
        return lambda value: _element(value, index, optional)
    return lambda value: _each(value, optional)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, dict):
        return "object"
    return {str: "string", list: "array"}.get(type(value), "number")


def _member(value: Any, name: str, optional: bool) -> Iterator[Any]:
    if value is None or isinstance(value, dict):
        yield value.get(name) if value else None
    elif not optional:
        raise CannotWalk(f'Cannot index {_kind(value)} with "{name}"')


def _element(value: Any, index: int, optional: bool) -> Iterator[Any]:
    if isinstance(value, list):
        yield value[index] if -len(value) <= index < len(value) else None
    elif value is None:
        yield None
    elif not optional:
        raise CannotWalk(f"Cannot index {_kind(value)} with number")


def _each(value: Any, optional: bool) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif not optional:
        raise CannotWalk(f"Cannot iterate over {_kind(value)}")


def walk(stages: tuple[tuple[Path, ...], ...], value: Any, budget: Budget) -> list[Any]:
    """Return what a program gives for a value; CannotWalk where jq would fail."""
    values = [value]
    for paths in stages:
        following: list[Any] = []
        for item in values:
            for path in paths:
                reached = [item]
                for step in path:
                    reached = [part for each in reached for part in step(each)]
                    budget.items(len(reached))
                following += reached
            budget.items(len(following))
        values = following
    return values
