"""The inputs of a flow as Dagster config: flat, typed, with the defaults a person sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from kestra_dagster.flow.input_values import InputRejected, text_value
from kestra_dagster.flow.inputs import Input
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import has_template

HELD = "held"
"""How run config says that a secret was handed over in memory and is not in it."""

_KINDS: Mapping[str, Any] = {
    "INT": int,
    "FLOAT": float,
    "BOOL": bool,
    "BOOLEAN": bool,
    "JSON": dg.Any,
    "YAML": dg.Any,
}
"""How config knows the types of inputs; all others are text there."""


def input_fields(flow: Flow) -> dict[str, Any]:
    """Return the config fields of a flow's inputs; an id with dots becomes nested fields."""
    tree: dict[str, Any] = {}
    for item in flow.inputs:
        *folders, last = item.id.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[last] = _field(item)
    return {name: _fold(value) for name, value in tree.items()}


def _fold(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fields = {name: _fold(inner) for name, inner in value.items()}
    required = any(field.is_required for field in fields.values())
    return dg.Field(dg.Shape(fields), is_required=required)


def _field(item: Input) -> dg.Field:
    required = (
        item.required
        and item.defaults is None
        and item.depends_on is None
        and not getattr(item, "auto_select_first", False)
    )
    options: dict[str, Any] = {"is_required": required, "description": _describe(item)}
    if _shown_default(item):
        options["default_value"] = _default(item)
    kind = _config_type(item)
    # Null stands for a required input too, where a trigger hands it over.
    return dg.Field(kind if kind is dg.Any else dg.Noneable(kind), **options)


def _config_type(item: Input) -> Any:
    if item.type == "SECRET":
        return dg.Selector({"env": str, "secret": str, HELD: bool})
    if item.type in ("ARRAY", "MULTISELECT"):
        return dg.Array(_KINDS.get(getattr(item, "item_type", "STRING"), str))
    values = getattr(item, "values", None)
    # Kestra holds only required inputs to their values.
    if values and item.required and not getattr(item, "allow_custom_value", False):
        return dg.Enum(f"{item.id}_values", [dg.EnumValue(value) for value in values])
    return _KINDS.get(item.type, str)


def _shown_default(item: Input) -> bool:
    """Say whether a default can be shown as it is: literal, public, of a type config knows."""
    return (
        item.defaults is not None
        and item.type != "SECRET"
        and not has_template(item.defaults)
        and item.depends_on is None
    )


def _default(item: Input) -> Any:
    if item.type in ("INT", "FLOAT", "BOOL", "BOOLEAN", "ARRAY", "MULTISELECT"):
        return item.read(item.defaults)
    return item.defaults if item.type in _KINDS else text_value(item.defaults)


def _describe(item: Input) -> str:
    parts = [item.display_name, item.description, f"({item.type})"]
    if item.type == "SECRET":
        parts.append(
            "write `env: NAME` for an environment variable or `secret: KEY` for a Kestra secret; "
            "run config never holds the value"
        )
    elif item.type == "FILE":
        parts.append(
            "the URI of a file: `kestra:///...`, `nsfile:///...` (a file of the namespace), or "
            "`file:///...` in a folder that KESTRA_DAGSTER_ALLOWED_FILES names"
        )
    elif item.defaults is not None and not _shown_default(item):
        parts.append(f"defaults to `{text_value(item.defaults)}`")
    return " ".join(part for part in parts if part)


def to_config(flow: Flow, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return run config for inputs by id (dots or nested); secrets only say that they are held.

    Values keep the form they were given in where config takes it, and are read as the input's type
    where not (`"3"` for an INT). An id no input has is dropped, as in Kestra; so is what cannot be
    read for an input that depends on others, since one that is disabled is not looked at.
    """
    config: dict[str, Any] = {}
    for item in flow.inputs:
        found, value = _given(inputs, item.id)
        if not found:
            continue
        try:
            shown = {HELD: True} if item.type == "SECRET" else _config_value(item, value)
        except InputRejected:
            if item.depends_on is None:
                raise
            continue
        *folders, last = item.id.split(".")
        branch = config
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[last] = shown
    return config


def _given(inputs: Mapping[str, Any], input_id: str) -> tuple[bool, Any]:
    if input_id in inputs:
        return True, inputs[input_id]
    value: Any = inputs
    for part in input_id.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False, None
        value = value[part]
    return True, value


def _config_value(item: Input, value: Any) -> Any:
    if value is None:
        return None
    if item.type == "FILE":
        return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
    if item.type in ("JSON", "YAML"):
        return value
    return item.read(value)
