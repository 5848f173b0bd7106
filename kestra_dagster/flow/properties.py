"""Types of task properties: what a template may stand for, and how YAML scalars become text.

A property is checked twice with the same pydantic type: at load, where a template is taken as it
is, and at run, after rendering, where the value must fit (Kestra's `Property<T>`). The phase is
the validation context `LOAD` or `RUN`; without a context values are checked as at run.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, GetCoreSchemaHandler, ValidationError
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    core_schema,
)

T = TypeVar("T")

_OWN_OF_PYDANTIC = frozenset(get_args(core_schema.ErrorType))

LOAD: Mapping[str, str] = {"phase": "load"}
RUN: Mapping[str, str] = {"phase": "run"}


def has_template(value: Any) -> bool:
    """Say whether a template (`{{` or `{%`) stands anywhere in a value."""
    if isinstance(value, str):
        return "{" in value and ("{{" in value or "{%" in value)
    if isinstance(value, Mapping):
        return any(has_template(key) or has_template(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(map(has_template, value))


class Rendered:
    """Marks a property that is rendered before the task runs; see `Dynamic`."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        takes_json = _takes_json(source)

        def check(value: Any, inner: Any, info: core_schema.ValidationInfo) -> Any:
            raw = info.context is LOAD or (info.context or RUN).get("phase") == "load"
            if raw and isinstance(value, str) and has_template(value):
                return value
            if takes_json and isinstance(value, str):
                value = _parsed(value)
            return _check_around_templates(value, inner) if raw else inner(value)

        return core_schema.with_info_wrap_validator_function(check, schema)


Dynamic = Annotated[T, Rendered()]
"""A property that Kestra renders: `Dynamic[int]` takes an int, or a template that renders to one.

At run, text that stands where a list or a map belongs is parsed as JSON.
"""


def _check_around_templates(value: Any, inner: Any) -> Any:
    if not isinstance(value, (list, dict)) or not has_template(value):
        return inner(value)
    try:
        inner(value)
    except ValidationError as error:
        # What a template stands for is not known yet; everything around it is.
        real = [
            InitErrorDetails(
                type=_kind(found),
                loc=found["loc"],
                input=found["input"],
                ctx=found.get("ctx", {}),
            )
            for found in error.errors(include_url=False)
            if _certain(found)
        ]
        if real:
            raise ValidationError.from_exception_data(error.title, real) from None
    return value


def _certain(found: ErrorDetails) -> bool:
    """Say whether an error stays whatever the templates in its input stand for."""
    value = found["input"]
    if found["type"] in ("unknown_type", "missing_type") and isinstance(value, dict):
        return not has_template(value.get("type"))
    return found["type"] in ("missing", "extra_forbidden") or not has_template(value)


def _kind(found: ErrorDetails) -> str | PydanticCustomError:
    if "error" in found.get("ctx", {}):
        return PydanticCustomError("value_error", "{why}", {"why": found["msg"]})
    if found["type"] in _OWN_OF_PYDANTIC:
        return found["type"]
    # One of our own: pydantic takes back only its own kinds by name.
    return PydanticCustomError(found["type"], found["msg"], found.get("ctx"))  # pyright: ignore


def _takes_json(annotation: Any) -> bool:
    """Say whether text is JSON for this type: a container that has no place for text itself."""
    if annotation is Any or annotation is str:
        return False
    origin = get_origin(annotation)
    if origin is Annotated:
        return _takes_json(get_args(annotation)[0])
    if origin in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        texts = any(_takes_text(part) for part in parts)
        return not texts and any(_takes_json(part) for part in parts)
    kind = origin or annotation
    containers = (BaseModel, list, tuple, set, frozenset, Mapping)
    return isinstance(kind, type) and issubclass(kind, containers)


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _takes_text(get_args(annotation)[0])
    return annotation is Any or annotation is str


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the type says what is wrong with it


def dynamic_fields(spec: type[BaseModel]) -> frozenset[str]:
    """Return the YAML names of the properties that are rendered before the task runs."""
    return _dynamic_fields(spec)


@functools.cache
def _dynamic_fields(spec: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        field.alias or name
        for name, field in spec.model_fields.items()
        if any(isinstance(mark, Rendered) for mark in field.metadata)
        or _holds_rendered(field.annotation)
    )


def _holds_rendered(annotation: Any) -> bool:
    return any(isinstance(part, Rendered) or _holds_rendered(part) for part in get_args(annotation))


def scalar_text(value: Any) -> Any:
    """Return a YAML scalar as Java prints it (1 -> "1", true -> "true"); others unchanged."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return double_text(value) if isinstance(value, float) else value


def double_text(value: float) -> str:
    """Print a float as Java's `Double.toString`: `1.0`, `1.0E10`, `NaN`, `Infinity`."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{Decimal(repr(value)):f}"
    sign, digits, shift = Decimal(repr(value)).normalize().as_tuple()
    first, *rest = map(str, digits)
    exponent = len(rest) + int(shift)
    return f"{'-' if sign else ''}{first}.{''.join(rest) or '0'}E{exponent}"


Text = Annotated[str, BeforeValidator(scalar_text)]
"""Text that also takes the other YAML scalars."""

_DURATION = re.compile(
    r"""(?P<sign>[-+]?)P(?:(?P<days>[-+]?\d+)D)?
    (?P<time>T(?:(?P<hours>[-+]?\d+)H)?(?:(?P<minutes>[-+]?\d+)M)?
    (?:(?P<seconds>[-+]?\d+(?:[.,]\d{0,9})?)S)?)?\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_LONGEST = timedelta(days=366 * 1000)


def parse_duration(value: Any) -> timedelta:
    """Read a duration as `java.time.Duration` does: `P1D`, `PT1H30M`, `PT0.1S`.

    A number is seconds. Raise ValueError with the reason for anything else.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("is not a duration; write one like `PT30S`, `PT1H30M` or `P1D`")
    if not isinstance(value, str):
        return _bounded(value)
    text = value.strip()
    match = _DURATION.match(text)
    parts = match.groupdict() if match else {}
    amounts = {name: parts.get(name) for name in ("days", "hours", "minutes", "seconds")}
    if not match or not any(amounts.values()) or (parts["time"] or "").upper() == "T":
        raise ValueError(f"is not a duration: `{text}`; write one like `PT30S`, `PT1H30M` or `P1D`")
    sizes = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
    total = sum(
        float(amount.replace(",", ".")) * sizes[name] for name, amount in amounts.items() if amount
    )
    return _bounded(-total if parts["sign"] == "-" else total)


def _bounded(seconds: float) -> timedelta:
    if not abs(seconds) <= _LONGEST.total_seconds():
        raise ValueError("is longer than a thousand years")
    return timedelta(seconds=seconds)


def duration_text(value: timedelta) -> str:
    """Print a duration as Java's `Duration.toString`: hours at most, `PT0S` for none."""
    micros = round(value.total_seconds() * 1_000_000)
    if micros == 0:
        return "PT0S"
    sign, micros = (-1, -micros) if micros < 0 else (1, micros)
    minutes, micros = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    text = "PT" + (f"{sign * hours}H" if hours else "") + (f"{sign * minutes}M" if minutes else "")
    if micros:
        seconds = f"{micros // 1_000_000}.{micros % 1_000_000:06d}".rstrip("0").rstrip(".")
        text += f"{'-' if sign < 0 else ''}{seconds}S"
    return text


def duration_value(value: Any) -> timedelta:
    """Read a duration for a model, which tells the reason as its own."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{why}", {"why": str(error)}) from None


Duration = Annotated[timedelta, BeforeValidator(duration_value)]
"""A time span in ISO-8601 as Java reads it."""
