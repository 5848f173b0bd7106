"""Functions that render, parse, compare and look at the context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.operators import compare, span
from kestra_dagster.expressions.values import is_map, type_word

OMITTED: Any = object()
"""Stands for an argument that was not given, where null means something else."""


def needed(value: Any, function: str, argument: str) -> Any:
    """Return a required argument, or say that it is missing."""
    if value is OMITTED:
        raise ExpressionError(f"`{function}()` needs the argument `{argument}`")
    return value


def text_argument(value: Any, function: str, argument: str) -> str:
    """Return a required argument that has to be a string."""
    if isinstance(needed(value, function, argument), str):
        return value
    raise ExpressionError(f"`{function}()` needs a string as `{argument}`, not {type_word(value)}")


def flag(value: Any, function: str, argument: str, default: bool) -> bool:
    """Return an optional argument that is true or false."""
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise ExpressionError(
        f"`{function}()` takes true or false as `{argument}`, not {type_word(value)}"
    )


def render(context: Context, toRender: Any = OMITTED, recursive: Any = None) -> Any:
    """Render a value again: until it stays the same, or once with `recursive=false`."""
    from kestra_dagster.expressions.engine import render_nested

    value = needed(toRender, "render", "toRender")
    return render_nested(value, context, flag(recursive, "render", "recursive", True))


def render_once(context: Context, toRender: Any = OMITTED) -> Any:
    """Render a value once more."""
    from kestra_dagster.expressions.engine import render_nested

    return render_nested(needed(toRender, "renderOnce", "toRender"), context, False)


def print_context(context: Context) -> Any:
    """Return all variables."""
    visible = context.visible()
    return {name: visible[name] for name in visible}


def env(context: Context, name: Any = OMITTED, default: Any = None) -> Any:
    """Return an environment variable (those with the prefix, in lower case), or the default."""
    wanted = text_argument(name, "env", "name")
    values = context.value("envs")
    if not is_map(values):
        return default
    found = values.get(wanted)
    if found is None:
        found = values.get(wanted.lower())
    return default if found is None or found == "" else found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"`{constant}` is not JSON")


def _lead(text: str) -> int:
    return len(text) - len(text.lstrip(" \t\r\n"))


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def from_json(context: Context, json: Any = OMITTED) -> Any:
    """Read the first JSON value of a text (Jackson does not look at what follows it)."""
    if needed(json, "fromJson", "json") is None:
        return None
    text = text_argument(json, "fromJson", "json")
    context.budget.text(len(text))
    try:
        return _DECODER.raw_decode(text, _lead(text))[0]
    except RecursionError:
        raise ExpressionError("the JSON is nested too deep") from None
    except ValueError as error:
        raise ExpressionError(
            f"not valid JSON: {error}", hint="`fromJson()` reads text; a map needs no reading"
        ) from None


def from_ion(context: Context, ion: Any = OMITTED, allRows: Any = None) -> Any:
    """Read the first value of an Ion text, or the list of all with `allRows=true`."""
    from kestra_dagster.expressions.ion import parse_ion

    if needed(ion, "fromIon", "ion") is None:
        return None
    if isinstance(ion, (bytes, bytearray)):
        ion = bytes(ion).decode("utf-8", "replace")
    text = text_argument(ion, "fromIon", "ion")
    every = flag(allRows, "fromIon", "allRows", False)
    values = parse_ion(text, context.budget, not every)
    if every:
        return values
    return values[0] if values else None


def from_yaml(context: Context, yaml: Any = OMITTED) -> Any:
    """Read a YAML document."""
    from kestra_dagster.expressions.yaml_text import parse_yaml

    return parse_yaml(text_argument(yaml, "yaml", "yaml"), context.budget)


def _extreme(wanted: int, candidates: tuple[Any, ...]) -> Any:
    best = None
    for candidate in candidates:
        if best is None or compare(candidate, best) == wanted:
            best = candidate
    return best


def maximum(context: Context, *candidates: Any) -> Any:
    """Return the largest number; null does not count."""
    return _extreme(1, candidates)


def minimum(context: Context, *candidates: Any) -> Any:
    """Return the smallest number; null does not count."""
    return _extreme(-1, candidates)


def range_(context: Context, start: Any = None, end: Any = None, increment: Any = None) -> Any:
    """List numbers or single characters from `start` to `end`, both included."""
    return span(start, end, increment, context.budget)


def tasks_with_state(context: Context, state: Any = OMITTED) -> Any:
    """List the task runs in a state: `taskId`, `state`, and `value` in a loop."""
    wanted = text_argument(state, "tasksWithState", "state").upper()
    tasks = context.value("tasks")
    found: list[dict[str, Any]] = []
    if not is_map(tasks):
        return found
    for task_id, details in tasks.items():
        for key, value in details.items() if is_map(details) else ():
            context.budget.spend()
            if _state_of(value) == wanted:
                found.append({"taskId": task_id, "state": wanted, "value": key})
            elif key == "state" and isinstance(value, str) and value.upper() == wanted:
                found.append({"taskId": task_id, "state": wanted})
    return found


def _state_of(details: Any) -> str | None:
    state = details.get("state") if isinstance(details, Mapping) else None
    return state.upper() if isinstance(state, str) else None
