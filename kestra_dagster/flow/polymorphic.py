"""Parts of a flow whose shape depends on their `type`: inputs, conditions, retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, PlainValidator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from kestra_dagster.flow.validation import suggest

Models = Callable[[], Mapping[str, type[BaseModel]]]


class ByType(PlainValidator):
    """A validator that takes the model by `type`; `models` gives the table (for the schema)."""

    def __init__(self, read: Callable[[Any, ValidationInfo], BaseModel], models: Models) -> None:
        super().__init__(read)
        object.__setattr__(self, "models", models)

    models: Models


def by_type(
    what: str, models: Models, canonical: Callable[[str], str] = str, plugin: bool = False
) -> ByType:
    """Validate a map with the model that `models` holds for its `type`; `what` is for messages.

    `plugin` says that Kestra may have more of them than there are here.
    """

    def read(value: Any, info: ValidationInfo) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("dict_type", "not a map")
        name = value.get("type")
        if name is None:
            raise PydanticCustomError("missing_type", "no type")
        table = models()
        model = table.get(canonical(name)) if isinstance(name, str) else None
        if model is None:
            hint = suggest(str(name), table) or f"known are: {', '.join(table)}"
            context = {"type": str(name), "what": what, "hint": hint, "plugin": plugin}
            raise PydanticCustomError("unknown_type", "unknown", context)
        return model.model_validate(value, context=info.context)

    return ByType(read, models)
