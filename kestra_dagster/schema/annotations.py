"""Types of properties as JSON schema (draft 7, which editors know best)."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from kestra_dagster.flow.dialects import former_names
from kestra_dagster.flow.flow import CheckShape, label_map
from kestra_dagster.flow.input_types import Input, MultiSelectInput
from kestra_dagster.flow.polymorphic import ByType
from kestra_dagster.flow.properties import Rendered, duration_value, scalar_text
from kestra_dagster.flow.retries import RetrySpec

Schema = dict[str, Any]

SCALAR = ["string", "number", "boolean"]
EXPRESSION: Schema = {
    "type": "string",
    "pattern": r"\{\{|\{%",
    "description": "An expression that renders to the value: `{{ ... }}`.",
}
_LABELS: Schema = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": SCALAR}},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "value"],
                "properties": {"key": {"type": SCALAR}, "value": {"type": SCALAR}},
                "additionalProperties": False,
            },
        },
    ]
}
OLD_NAMES: Mapping[type[BaseModel], Mapping[str, str]] = {
    Input: {"name": "id"},
    MultiSelectInput: {"options": "values"},
    RetrySpec: {"maxAttempt": "maxAttempts"},
    CheckShape: {"when": "condition"},
}
"""Model -> old name of a property -> the current one, as its validators accept them."""


class Definitions:
    """The models met so far, each once under `$defs`."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def model(self, model: type[BaseModel]) -> Schema:
        """Return a reference to the schema of a model's map."""
        name = f"{model.__module__.rpartition('.')[2]}.{model.__qualname__}"
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self.properties_of(model)
        return {"$ref": f"#/$defs/{name}"}

    def properties_of(self, model: type[BaseModel]) -> Schema:
        """Return the schema of a map with the properties of a model, and no others."""
        properties = {
            field.alias or name: self.field(model, name, field)
            for name, field in model.model_fields.items()
        }
        required = {
            field.alias or name for name, field in model.model_fields.items() if field.is_required()
        }
        for parent, names in OLD_NAMES.items():
            if issubclass(model, parent):
                for old, new in names.items():
                    properties[old] = {**properties[new], "deprecated": True}
                    properties[old]["description"] = f"Old name of `{new}`."
                    required.discard(new)
        extra = model.model_config.get("extra") != "forbid"
        return {
            "type": "object",
            **described(model),
            "properties": properties,
            **({"required": sorted(required)} if required else {}),
            "additionalProperties": extra,
        }

    def field(self, model: type[BaseModel], name: str, field: FieldInfo) -> Schema:
        schema = self._marked(field.annotation, field.metadata)
        about = field.description or docstrings(model).get(name)
        if about:
            schema = {**_beside(schema), "description": about}
        default = field.get_default(call_default_factory=False)
        if not field.is_required() and isinstance(default, (str, int, float, bool)):
            schema = {**_beside(schema), "default": default}
        return schema

    def schema(self, annotation: Any) -> Schema:
        """Return the schema of a type; a type that says nothing here takes anything."""
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *marks = get_args(annotation)
            return self._marked(inner, marks)
        if origin in (Union, UnionType):
            choices = [self.schema(one) for one in get_args(annotation) if one is not NoneType]
            return choices[0] if len(choices) == 1 else {"anyOf": choices}
        if origin is Literal:
            return {"enum": list(get_args(annotation))}
        kind = origin or annotation
        arguments = get_args(annotation)
        if not isinstance(kind, type):
            return {}
        if issubclass(kind, BaseModel):
            return self.model(kind)
        if issubclass(kind, (list, tuple, set, frozenset)):
            items = self.schema(arguments[0]) if arguments else {}
            return {"type": "array", **({"items": items} if items else {})}
        if issubclass(kind, (dict, Mapping)):
            values = self.schema(arguments[1]) if len(arguments) == 2 else {}
            return {"type": "object", **({"additionalProperties": values} if values else {})}
        if issubclass(kind, timedelta):
            return {"type": ["string", "number"], "examples": ["PT30S", "PT1H", "P1D"]}
        names = {str: "string", bool: "boolean", int: "integer", float: "number"}
        return {"type": names[kind]} if kind in names else {}

    def _marked(self, inner: Any, marks: list[Any]) -> Schema:
        polymorphic = next((mark for mark in marks if isinstance(mark, ByType)), None)
        if polymorphic:
            return self.by_type(polymorphic.models())
        schema = self.schema(inner)
        for mark in marks:
            if isinstance(mark, BeforeValidator):
                schema = _BEFORE.get(mark.func, lambda _: {})(schema)
            schema = {**schema, **_bounds(mark, schema)}
        if any(isinstance(mark, Rendered) for mark in marks):
            return dynamic(schema)
        return schema

    def by_type(self, models: Mapping[str, type[BaseModel]]) -> Schema:
        """Return the schema of a map whose `type` chooses among models; referenced, made once."""
        name = "one of " + next(iter(models))
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = chosen_by_type(
                {
                    type_name: (self.with_type(model), former_names(type_name))
                    for type_name, model in models.items()
                }
            )
        return {"$ref": f"#/$defs/{name}"}

    def with_type(self, model: type[BaseModel]) -> Schema:
        """Return a reference to a model's map that also holds its `type`."""
        reference = self.model(model)
        found = self.found[reference["$ref"].removeprefix("#/$defs/")]
        found.get("properties", {}).setdefault("type", {"type": "string"})
        return reference


def chosen_by_type(
    choices: Mapping[str, tuple[Schema, tuple[str, ...]]], others: str | None = None
) -> Schema:
    """Return the schema of a map whose `type` chooses; each choice has a schema and old names.

    `others` is a pattern of names that may be used beside those, with any properties.
    """
    names = [*choices]
    old = sorted({alias for _, aliases in choices.values() for alias in aliases} - set(names))
    listed: list[Schema] = [{"enum": names}]
    if old:
        listed.append({"enum": old, "deprecated": True})
    if others:
        listed.append({"type": "string", "pattern": others})
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": listed[0] if len(listed) == 1 else {"anyOf": listed}},
        "allOf": [
            {
                "if": {
                    "properties": {
                        "type": {"enum": [name, *aliases]} if aliases else {"const": name}
                    },
                    "required": ["type"],
                },
                "then": schema,
            }
            for name, (schema, aliases) in choices.items()
        ],
    }


def dynamic(schema: Schema) -> Schema:
    """Let an expression stand for a value, and JSON text where that is read as one."""
    kinds = schema.get("type")
    text = kinds == "string" or (isinstance(kinds, list) and "string" in kinds)
    if not schema or (text and "maxLength" not in schema):
        return schema
    return {"anyOf": [schema, EXPRESSION]}


def described(model: type[BaseModel]) -> Schema:
    """Return the docstring of a model as `description`, if it has one of its own."""
    about = inspect.cleandoc(model.__doc__ or "") if "__doc__" in vars(model) else ""
    return {"description": about} if about else {}


@functools.cache
def docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what stands below the fields of a model, and of those it comes from, as strings."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if one is not BaseModel and issubclass(one, BaseModel):
            found |= _docstrings_of(one.__module__).get(one.__qualname__, {})
    return found


@functools.cache
def _docstrings_of(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the strings below fields by class; a module is read once, not once for each class."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, SyntaxError):
        return {}
    return dict(_by_class(tree.body, ""))


def _by_class(body: Sequence[ast.stmt], within: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for one in body:
        if isinstance(one, ast.ClassDef):
            yield f"{within}{one.name}", dict(_below_fields(one.body))
            yield from _by_class(one.body, f"{within}{one.name}.")


def _below_fields(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for before, after in pairwise(body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield before.target.id, inspect.cleandoc(after.value.value)


def _scalar(schema: Schema) -> Schema:
    return {**schema, "type": SCALAR} if schema.get("type") == "string" else schema


_BEFORE: Mapping[Any, Callable[[Schema], Schema]] = {
    scalar_text: _scalar,
    duration_value: lambda schema: schema,
    label_map: lambda _: _LABELS,
}
"""What a validator that comes before a type lets in beside it; any other lets in anything."""


def _bounds(mark: Any, schema: Schema) -> Schema:
    """Return the keywords of a limit (`ge`, `min_length` ...) that pydantic knows."""
    numbers = schema.get("type") in ("integer", "number")
    length = "minItems" if schema.get("type") == "array" else "minLength"
    longest = "maxItems" if schema.get("type") == "array" else "maxLength"
    table: list[tuple[type, str, str]] = []
    if numbers:
        table += [
            (annotated_types.Ge, "ge", "minimum"),
            (annotated_types.Gt, "gt", "exclusiveMinimum"),
            (annotated_types.Le, "le", "maximum"),
            (annotated_types.Lt, "lt", "exclusiveMaximum"),
        ]
    if schema.get("type") in ("string", "array"):
        table += [
            (annotated_types.MinLen, "min_length", length),
            (annotated_types.MaxLen, "max_length", longest),
        ]
    return {key: getattr(mark, name) for kind, name, key in table if isinstance(mark, kind)}


def _beside(schema: Schema) -> Schema:
    """Return a schema that further keywords may stand beside: not a bare reference (draft 7)."""
    return {"allOf": [schema]} if "$ref" in schema else schema
