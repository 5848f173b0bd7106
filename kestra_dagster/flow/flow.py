"""The top level of a flow: everything beside its tasks and triggers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kestra_dagster.flow.input_types import INPUT_TYPES, AnyInput, check_item_type
from kestra_dagster.flow.model import Check, Concurrency, FlowOutput, Sla
from kestra_dagster.flow.parts import Part, refusal
from kestra_dagster.flow.properties import Duration, Text
from kestra_dagster.flow.retries import AnyRetry


def label_map(value: Any) -> Any:
    """Return labels as a map from either of the two ways to write them; first one wins."""
    if not isinstance(value, list):
        return value
    labels: dict[str, Any] = {}
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"key", "value"}:
            raise refusal("should be a map, or a list of `{key, value}`")
        labels.setdefault(str(item["key"]), item["value"])
    return labels


Labels = Annotated[dict[str, Text], BeforeValidator(label_map)]


class OutputShape(Part):
    id: Text
    type: str
    value: Any
    description: Text | None = None
    display_name: Text | None = None
    required: bool = True
    item_type: str | None = None

    @model_validator(mode="after")
    def _check(self) -> OutputShape:
        if self.type not in INPUT_TYPES:
            raise PydanticCustomError("unknown_type", "", {"type": self.type, "what": "output"})
        if self.item_type is not None:
            check_item_type(self.item_type)
        return self

    def value_of(self) -> FlowOutput:
        return FlowOutput(**self.model_dump())


class ConcurrencyShape(Part):
    limit: Annotated[int, Field(ge=1)]
    behavior: Literal["QUEUE", "CANCEL", "FAIL"] = "QUEUE"

    def value_of(self) -> Concurrency:
        return Concurrency(self.limit, self.behavior)


class SlaShape(Part):
    id: Text
    type: Literal["MAX_DURATION", "EXECUTION_ASSERTION"]
    behavior: Literal["FAIL", "CANCEL", "NONE"]
    duration: Duration | None = None
    assertion: Text | None = Field(None, alias="assert")
    labels: Labels = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> SlaShape:
        if self.type == "MAX_DURATION" and self.duration is None:
            raise refusal("needs `duration` with the type MAX_DURATION")
        if self.type == "EXECUTION_ASSERTION" and self.assertion is None:
            raise refusal("needs `assert` with the type EXECUTION_ASSERTION")
        return self

    def value_of(self) -> Sla:
        return Sla(**self.model_dump())


class CheckShape(Part):
    condition: Text
    message: Text
    style: Literal["INFO", "ERROR", "SUCCESS", "WARNING"] = "INFO"
    behavior: Literal["BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION"] = "BLOCK_EXECUTION"

    @model_validator(mode="before")
    @classmethod
    def _new_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "when" in data and "condition" not in data:
            return {("condition" if key == "when" else key): item for key, item in data.items()}
        return data

    def value_of(self) -> Check:
        return Check(**self.model_dump())


class FlowShape(Part):
    """The properties of a flow that hold no tasks."""

    id: Text
    namespace: Text
    revision: Annotated[int, Field(ge=1)] = 1
    description: Text | None = None
    labels: Labels = Field(default_factory=dict)
    inputs: tuple[AnyInput, ...] = ()
    variables: dict[str, Any] = Field(default_factory=dict)
    outputs: tuple[OutputShape, ...] = ()
    concurrency: ConcurrencyShape | None = None
    retry: AnyRetry | None = None
    sla: tuple[SlaShape, ...] = ()
    checks: tuple[CheckShape, ...] = ()
    disabled: bool = False
    draft: bool = False


TASK_KEYS = ("tasks", "errors", "finally", "afterExecution")
ELSEWHERE = (*TASK_KEYS, "listeners", "triggers", "pluginDefaults", "taskDefaults")
"""Top-level properties with a reader of their own."""
IGNORED = ("tenantId", "deleted", "extend")
"""Set by Kestra's server, or by the catalogue of its blueprints; no part of what a flow does."""
ENTERPRISE = ("policyRefs", "workerGroup", "workerSelector", "quotas")
