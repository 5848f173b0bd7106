"""The pydantic base of the parts of a flow, and how their validators refuse a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Part(BaseModel):
    """A map of properties in the camelCase of Kestra's YAML; unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,  # most models are never used in a process, and building one takes 1 ms
    )


def refusal(reason: str, at: str | None = None) -> PydanticCustomError:
    """Make the error of a validator; `reason` continues a sentence that names the property.

    `at` is the YAML name of the property to blame, when a whole map is checked.
    """
    return PydanticCustomError("refused", "{why}", {"why": reason, **({"at": at} if at else {})})
