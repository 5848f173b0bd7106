"""Types of inputs: what each takes, and how it reads a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    model_validator,
)

from kestra_dagster.flow.input_values import (
    CONVERTERS,
    InputRejected,
    duration_text,
    float_value,
    instant_text,
    int_value,
    list_value,
    parse_date,
    parse_instant,
    parse_span,
    parse_time,
    text_value,
    time_text,
)
from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Text, has_template

INPUT_ID = re.compile(r"[a-zA-Z0-9][.a-zA-Z0-9_-]*\Z")
FILE_SCHEMES = ("kestra://", "nsfile://", "file://")


def _id(value: str) -> str:
    if not INPUT_ID.match(value):
        raise refusal(
            f"`{value}` is not allowed: an id starts with a letter or digit, and holds only "
            "letters, digits, `.`, `_` and `-`"
        )
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise refusal(f"is an invalid pattern: {error}") from None
    return value


Pattern = Annotated[Text, AfterValidator(_pattern)]


class DependsOn(Part):
    """When an input takes part: all `inputs` are enabled and `condition` renders to true."""

    inputs: tuple[str, ...] = ()
    condition: str | None = None


class Input(Part):
    """An input of any type; subclasses add what only their type has."""

    id: Annotated[Text, AfterValidator(_id)]
    type: str
    description: str | None = None
    display_name: Text | None = None
    required: bool = True
    defaults: Any = None
    prefill: Any = None
    depends_on: DependsOn | None = None

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" in data and "id" not in data:
            return {("id" if key == "name" else key): value for key, value in data.items()}
        if isinstance(data, dict) and "name" in data:
            return {key: value for key, value in data.items() if key != "name"}
        return data

    @model_validator(mode="after")
    def _check_defaults(self) -> Input:
        if self.defaults is not None and self.prefill is not None:
            raise refusal("goes not with `defaults`: use only one of them", at="prefill")
        for name in ("defaults", "prefill"):
            value = getattr(self, name)
            if value is not None and not has_template(value):
                try:
                    self.check_default(value)
                except InputRejected as error:
                    raise refusal(f"would be refused: {error}", at=name) from None
        return self

    def check_default(self, value: Any) -> None:
        """Raise InputRejected for a default that would never be accepted."""
        self.read(value)

    def read(self, value: Any) -> Any:
        """Return the value the execution gets for a given one, text or typed.

        Raise InputRejected with the reason.
        """
        return CONVERTERS[self.type](value)


class StringInput(Input):
    """STRING and SECRET: text that may have to match a pattern as a whole."""

    validator: Pattern | None = None

    def read(self, value: Any) -> str:
        text = text_value(value)
        if self.validator is not None and not re.fullmatch(self.validator, text):
            raise InputRejected(f"it must match the pattern `{self.validator}`")
        return text


class IntInput(Input):
    min: int | None = None
    max: int | None = None

    def read(self, value: Any) -> int:
        return _within(int_value(value), self.min, self.max, str)


class FloatInput(Input):
    min: float | None = None
    max: float | None = None

    def read(self, value: Any) -> float:
        return _within(float_value(value), self.min, self.max, text_value)


class PlainInput(Input):
    """Types with nothing of their own to check."""


def _check(parse: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        try:
            return parse(value)
        except InputRejected as error:
            raise refusal(str(error)) from None

    return BeforeValidator(check)


Instant = Annotated[datetime, _check(parse_instant)]


class DateTimeInput(Input):
    after: Instant | None = None
    before: Instant | None = None

    def read(self, value: Any) -> str:
        found = parse_instant(value)
        _between(found, self.after, self.before, instant_text)
        return instant_text(found)


class DateInput(Input):
    after: Annotated[Any, _check(parse_date)] = None
    before: Annotated[Any, _check(parse_date)] = None

    def read(self, value: Any) -> str:
        found = parse_date(value)
        _between(found, self.after, self.before, str)
        return found.isoformat()


class TimeInput(Input):
    after: Annotated[Any, _check(parse_time)] = None
    before: Annotated[Any, _check(parse_time)] = None

    def read(self, value: Any) -> str:
        found = parse_time(value)
        _between(found, self.after, self.before, time_text)
        return time_text(found)


class DurationInput(Input):
    min: Annotated[Any, _check(parse_span)] = None
    max: Annotated[Any, _check(parse_span)] = None

    def read(self, value: Any) -> str:
        found = parse_span(value)
        if self.min is not None and found < self.min:
            raise InputRejected(f"It must be more than `{duration_text(self.min)}`")
        if self.max is not None and found > self.max:
            raise InputRejected(f"It must be less than `{duration_text(self.max)}`")
        return duration_text(found)


class SelectInput(Input):
    """SELECT and ENUM: one of `values`, which `expression` may compute."""

    values: tuple[Text, ...] | None = None
    expression: str | None = None
    allow_custom_value: bool = False
    is_radio: bool = False
    auto_select_first: bool = False

    @model_validator(mode="after")
    def _check_values(self) -> SelectInput:
        return _check_choice(self)

    def read(self, value: Any) -> str:
        text = text_value(value)
        self._check_one(text)
        return text

    def _check_one(self, text: str) -> None:
        if not self.values or self.allow_custom_value or not self.required:
            return  # Kestra looks at the values of required inputs only
        if text not in self.values:
            raise InputRejected(f"it must match the values `[{', '.join(self.values)}]`")


class MultiSelectInput(Input):
    values: tuple[Text, ...] | None = None
    expression: str | None = None
    item_type: str = "STRING"
    allow_custom_value: bool = False
    auto_select_first: bool = False

    @model_validator(mode="before")
    @classmethod
    def _old_options(cls, data: Any) -> Any:
        if isinstance(data, dict) and "options" in data and "values" not in data:
            return {("values" if key == "options" else key): item for key, item in data.items()}
        return data

    @model_validator(mode="after")
    def _check_values(self) -> MultiSelectInput:
        check_item_type(self.item_type)
        return _check_choice(self)

    def read(self, value: Any) -> list[Any]:
        found = list_value(value, self.item_type, "MULTISELECT")
        if self.values and not self.allow_custom_value and self.required:
            for item in found:
                if text_value(item) not in self.values:
                    values = ", ".join(self.values)
                    raise InputRejected(f"it must match the values `[{values}]`")
        return found


class ArrayInput(Input):
    item_type: str

    @model_validator(mode="after")
    def _check_item(self) -> ArrayInput:
        check_item_type(self.item_type)
        return self

    def read(self, value: Any) -> list[Any]:
        return list_value(value, self.item_type, "ARRAY")


class FileInput(Input):
    """A file of the internal storage, known by its URI."""

    extension: str | None = None
    accept: str | None = None
    allowed_file_extensions: tuple[str, ...] = ()

    def check_default(self, value: Any) -> None:
        if not isinstance(value, str) or not value.startswith(FILE_SCHEMES):
            raise InputRejected(
                "no `defaults` can be set for inputs of type 'FILE' but the URI of a stored file "
                "(`kestra://`, `nsfile://`, `file://`)"
            )

    def check_name(self, name: str) -> None:
        """Raise InputRejected for a file name with an extension that is not wanted."""
        allowed = self.allowed_file_extensions
        wanted = tuple(f".{extension.lstrip('.')}".lower() for extension in allowed)
        if wanted and not name.lower().endswith(wanted):
            raise InputRejected(f"its extension must be one of `[{', '.join(wanted)}]`")


def check_item_type(item_type: str) -> None:
    """Refuse what a list cannot hold."""
    if item_type in ("ARRAY", "MULTISELECT"):
        raise refusal(f"cannot be `{item_type}`", at="itemType")
    if item_type not in CONVERTERS:
        raise refusal(f"is not a type of items: `{item_type}`", at="itemType")


def _check_choice(found: Any) -> Any:
    if found.values is None and found.expression is None:
        raise refusal("needs `values` or `expression`")
    if found.values is not None and found.expression is not None:
        raise refusal("has both `values` and `expression`: only one of them is possible")
    return found


def _within(value: Any, low: Any, high: Any, show: Any) -> Any:
    if low is not None and value < low:
        raise InputRejected(f"it must be more than `{show(low)}`")
    if high is not None and value > high:
        raise InputRejected(f"it must be less than `{show(high)}`")
    return value


def _between(value: Any, after: Any, before: Any, show: Any) -> None:
    if after is not None and value < after:
        raise InputRejected(f"it must be after `{show(after)}`")
    if before is not None and value > before:
        raise InputRejected(f"it must be before `{show(before)}`")


INPUT_TYPES: Mapping[str, type[Input]] = {
    name: model
    for model, names in (
        (StringInput, "STRING SECRET"),
        (IntInput, "INT"),
        (FloatInput, "FLOAT"),
        (PlainInput, "BOOL BOOLEAN JSON YAML URI EMAIL"),
        (DateTimeInput, "DATETIME"),
        (DateInput, "DATE"),
        (TimeInput, "TIME"),
        (DurationInput, "DURATION"),
        (SelectInput, "SELECT ENUM"),
        (MultiSelectInput, "MULTISELECT"),
        (ArrayInput, "ARRAY"),
        (FileInput, "FILE"),
    )
    for name in names.split()
}
"""Every type of input, by its name."""

AnyInput = Annotated[Input, by_type("input", lambda: INPUT_TYPES)]
"""An input of the type that its map names."""
