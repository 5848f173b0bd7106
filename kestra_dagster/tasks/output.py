"""Publishing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext


class OutputValues(RunnableSpec):
    """Return values: what was rendered is text, a YAML literal keeps its type (0.21)."""

    values: Dynamic[dict[str, Any]] = Field(default_factory=dict)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"values": self.values}


class _Metric(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    description: Text | None = None
    tags: dict[str, Text] = Field(default_factory=dict)


class _Counter(_Metric):
    type: Literal["counter"]
    value: float


class _Timer(_Metric):
    type: Literal["timer"]
    value: Duration


class Publish(RunnableSpec):
    """Record metrics of the execution."""

    metrics: Dynamic[list[Annotated[_Counter | _Timer, Field(discriminator="type")]]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        published = []
        for metric in self.metrics:
            value = metric.value.total_seconds() if isinstance(metric, _Timer) else metric.value
            context.metric(metric.name, value, metric.type, metric.tags)
            published.append(
                {"name": metric.name, "type": metric.type, "value": value, "tags": metric.tags}
            )
        return {"metrics": published}
