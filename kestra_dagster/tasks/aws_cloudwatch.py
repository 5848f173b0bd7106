"""CloudWatch: metrics pushed, read and watched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import plain

_AT_ONCE = 1000


class MetricValue(BaseModel):
    """A value to push."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    metric_name: Text
    value: float
    unit: Text | None = None
    dimensions: dict[str, Text] = Field(default_factory=dict)


class Dimension(BaseModel, frozen=True, extra="forbid"):
    """Which of the values of a metric."""

    name: Text
    value: Text


class Push(AwsSpec):
    """Push values of metrics of one's own."""

    namespace: Dynamic[Text]
    metrics: Dynamic[list[MetricValue]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        now = datetime.now(timezone.utc)
        data = [
            {
                "MetricName": metric.metric_name,
                "Value": metric.value,
                "Timestamp": now,
                **({"Unit": metric.unit} if metric.unit else {}),
                "Dimensions": [{"Name": k, "Value": v} for k, v in metric.dimensions.items()],
            }
            for metric in self.metrics
        ]
        with aws_errors(f"push metrics to CloudWatch's `{self.namespace}`"):
            client = self.client("cloudwatch")
            for start in range(0, len(data), _AT_ONCE):
                context.cancel.check()
                client.put_metric_data(
                    Namespace=self.namespace, MetricData=data[start : start + _AT_ONCE]
                )
        context.log.info(f"Pushed {len(data)} datapoints to CloudWatch namespace {self.namespace}")
        return {"count": len(data)}


class Query(AwsSpec):
    """Read a statistic of a metric over the last while, oldest first."""

    namespace: Dynamic[Text]
    metric_name: Dynamic[Text]
    dimensions: Dynamic[list[Dimension]] = Field(default_factory=list)
    statistic: Dynamic[Text] = "Average"
    period_seconds: Dynamic[int] = Field(default=60, ge=1)
    window: Dynamic[Duration] = timedelta(minutes=5)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        # CloudWatch counts in whole seconds and leaves out the end.
        end = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=1)
        with aws_errors(f"read the metric `{self.metric_name}` of CloudWatch"):
            answer = self.client("cloudwatch").get_metric_statistics(
                Namespace=self.namespace,
                MetricName=self.metric_name,
                Dimensions=[{"Name": each.name, "Value": each.value} for each in self.dimensions],
                StartTime=end - self.window,
                EndTime=end,
                Period=self.period_seconds,
                Statistics=[self.statistic],
            )
        series = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
        told = [
            {name[0].lower() + name[1:]: plain(value) for name, value in point.items()}
            for point in series
        ]
        context.log.info(f"Fetched {len(told)} datapoints for {self.namespace}:{self.metric_name}")
        return {"count": len(told), "series": told}


class CloudWatchPoll(Query, Poll):
    """Start the flow when a metric has values."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        outputs = self.run(context)
        return Found(outputs if outputs["count"] else None, memory)
