"""Polling triggers: what each of them looks for, every `interval`.

A type is a class with the properties of its trigger and a method `poll`. It is found by the name of
the trigger type in `POLLING`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from kestra_dagster.flow.task_types import TaskSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.families import FILE_SERVERS, JDBC, SCRIPTS

POLLING: Mapping[str, str] = {
    "io.kestra.plugin.core.http.Trigger": "http_trigger:HttpPoll",
    "io.kestra.plugin.aws.cloudwatch.Trigger": "aws_cloudwatch:CloudWatchPoll",
    "io.kestra.plugin.aws.kinesis.Trigger": "aws_kinesis:KinesisPoll",
    "io.kestra.plugin.aws.msk.Trigger": "aws_msk:MskPoll",
    "io.kestra.plugin.aws.s3.Trigger": "aws_s3_trigger:S3Poll",
    "io.kestra.plugin.aws.sqs.Trigger": "aws_messages:SqsPoll",
    "io.kestra.plugin.azure.storage.blob.Trigger": "azure_blob_moves:BlobPoll",
    "io.kestra.plugin.amqp.Trigger": "amqp:AmqpPoll",
    "io.kestra.plugin.email.MailReceivedTrigger": "mail_received:MailPoll",
    "io.kestra.plugin.email.RealTimeTrigger": "mail_received:MailRealtime",
    "io.kestra.plugin.kafka.Trigger": "kafka:KafkaPoll",
    "io.kestra.plugin.mqtt.Trigger": "mqtt:MqttPoll",
    "io.kestra.plugin.nats.core.Trigger": "nats:NatsPoll",
    "io.kestra.plugin.gcp.bigquery.Trigger": "gcp_bigquery:BigQueryPoll",
    "io.kestra.plugin.gcp.gcs.Trigger": "gcp_gcs_objects:GcsPoll",
    "io.kestra.plugin.gcp.pubsub.Trigger": "gcp_pubsub:PubSubPoll",
    "io.kestra.plugin.minio.Trigger": "minio:minio_type",
    "io.kestra.plugin.mongodb.Trigger": "mongodb:MongoPoll",
    "io.kestra.plugin.redis.list.Trigger": "redis:RedisListPoll",
    "io.kestra.plugin.surrealdb.Trigger": "surrealdb:SurrealPoll",
    "io.kestra.plugin.fs.local.Trigger": "fs_local:Trigger",
    **{
        f"io.kestra.plugin.{name}.RealtimeTrigger": "realtime:realtime_type"
        for name in (
            *("amqp", "aws.kinesis", "aws.sqs", "gcp.pubsub", "kafka", "mqtt", "nats.core"),
            "redis.list",
        )
    },
    **{f"io.kestra.plugin.fs.{name}.Trigger": "fs_remote:fs_type" for name in FILE_SERVERS},
    **{f"io.kestra.plugin.jdbc.{name}.Trigger": "jdbc:jdbc_type" for name in JDBC},
    **{
        f"io.kestra.plugin.scripts.{name}.{kind}Trigger": "scripts_trigger:script_trigger"
        for name in SCRIPTS
        for kind in ("Commands", "Script")
    },
}
"""Canonical trigger type -> module of this package, and class, or function that makes it."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Found:
    """What a look brought: `outputs` become `trigger`; None starts nothing.

    Each of `messages` starts an execution of its own, whose `trigger` it is.
    `memory` is kept for the next look, together with the start. `finish` is called once both are
    safe: only then may what was found be taken away. `abandon` is called instead where they are
    not kept.
    """

    outputs: Mapping[str, Any] | None
    memory: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[], None] = _nothing
    abandon: Callable[[], None] = _nothing
    messages: Sequence[Mapping[str, Any]] = ()

    def each(self) -> Sequence[Mapping[str, Any]]:
        """Return the `trigger` of every execution to start."""
        return self.messages if self.outputs is None else (self.outputs,)


class Poll(TaskSpec):
    """The properties of a polling trigger and how it looks."""

    kind = "runnable"

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        """Look with rendered properties; raise TaskFailed where that is not possible."""
        raise NotImplementedError(type(self).__name__)


def polling_type(type_name: str) -> type[Poll] | None:
    """Return the class of a canonical trigger type; None if there is none."""
    target = POLLING.get(type_name)
    if target is None:
        return None
    module, _, name = target.partition(":")
    found = getattr(importlib.import_module(f"kestra_dagster.tasks.{module}"), name)
    return found(type_name) if isinstance(found, FunctionType) else found
