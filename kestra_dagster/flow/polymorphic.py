"""Parts of a flow whose shape depends on their `type`: inputs, conditions, retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, PlainValidator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo


def by_type(what: str, choose: Callable[[str], type[BaseModel] | None]) -> PlainValidator:
    """Validate a map with the model that `choose` finds for its `type`."""

    def read(value: Any, info: ValidationInfo) -> BaseModel:
        if isinstance(value, BaseModel):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("dict_type", "not a map")
        name = value.get("type")
        if name is None:
            raise PydanticCustomError("missing_type", "no type")
        model = choose(name) if isinstance(name, str) else None
        if model is None:
            raise PydanticCustomError("unknown_type", "unknown", {"type": str(name), "what": what})
        return model.model_validate(value, context=info.context)

    return PlainValidator(read)
