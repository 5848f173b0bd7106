"""Tasks that look at other executions, or change them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import ExecutionFilter, TaskContext


class _FlowName(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    namespace: Text
    flow_id: Text


class Count(RunnableSpec):
    """Count the executions of flows or namespaces, and keep the counts that fit an expression."""

    flows: list[_FlowName] | None = None
    namespaces: Dynamic[list[Text]] | None = None
    states: Dynamic[list[Text]] | None = None
    start_date: Dynamic[datetime] | None = None
    end_date: Dynamic[datetime] | None = None
    expression: Text

    @model_validator(mode="after")
    def _check_scope(self) -> Count:
        if self.flows is None and self.namespaces is None:
            raise ValueError("needs `flows` or `namespaces`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        places = [(flow.namespace, flow.flow_id) for flow in self.flows or ()]
        places += [(namespace, None) for namespace in self.namespaces or ()]
        results = []
        for namespace, flow_id in places:
            states = tuple(self.states or ())
            which = ExecutionFilter(namespace, flow_id, states, self.start_date, self.end_date)
            count = context.executions.count(which)
            if context.render(self.expression, {"count": count}) == "true":
                results.append({"namespace": namespace, "flowId": flow_id, "count": count})
        return {"results": results, "total": sum(each["count"] for each in results)}


class Resume(RunnableSpec):
    """Resume a paused execution."""

    execution_id: Dynamic[Text]
    namespace: Dynamic[Text] | None = None
    flow_id: Dynamic[Text] | None = None
    inputs: Dynamic[dict[str, Any]] = Field(default_factory=dict)

    def run(self, context: TaskContext) -> None:
        context.executions.resume(self.execution_id, self.inputs)


class PurgeExecutions(RunnableSpec):
    """Delete what is kept of ended executions."""

    end_date: Dynamic[datetime]
    start_date: Dynamic[datetime] | None = None
    namespace: Dynamic[Text] | None = None
    flow_id: Dynamic[Text] | None = None
    states: Dynamic[list[Text]] | None = None
    purge_execution: Dynamic[bool] = True
    purge_log: Dynamic[bool] = True
    purge_metric: Dynamic[bool] = True
    purge_storage: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked = {
            "executions": self.purge_execution,
            "logs": self.purge_log,
            "metrics": self.purge_metric,
            "storages": self.purge_storage,
        }
        states = tuple(self.states or ())
        which = ExecutionFilter(
            self.namespace, self.flow_id, states, self.start_date, self.end_date
        )
        parts = frozenset(part for part, wanted in asked.items() if wanted)
        counts = context.executions.purge(which, parts)
        return {f"{part}Count": counts.get(part, 0) for part in asked}


class Toggle(RunnableSpec):
    """Switch a trigger on or off; of this flow unless another is named."""

    trigger: Dynamic[Text]
    flow_id: Dynamic[Text] | None = None
    namespace: Dynamic[Text] | None = None
    enabled: Dynamic[bool] = False

    def run(self, context: TaskContext) -> None:
        flow = context.variables["flow"]
        context.executions.enable_trigger(
            self.namespace or flow["namespace"],
            self.flow_id or flow["id"],
            self.trigger,
            self.enabled,
        )
