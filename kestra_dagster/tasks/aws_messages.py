"""AWS services that take messages: SQS, SNS and EventBridge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_batches import data_of, put, written
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import Serde, decoded
from kestra_dagster.tasks.polling import Found, Poll

_AT_ONCE = 10


class SqsPublish(AwsSpec):
    """Send messages to an SQS queue; each is a map with `data`."""

    queue_url: Dynamic[Text]
    from_: DataFrom = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        with aws_errors(f"send to the queue `{self.queue_url}`"):
            client = self.client("sqs")
            for message in each_map(self.from_, context):
                context.cancel.check()
                client.send_message(QueueUrl=self.queue_url, **_sqs_message(message))
                count += 1
        context.metric("sqs.publish.messages", count, tags={"queue": self.queue_url})
        return {"messagesCount": count}


class SqsConsume(AwsSpec):
    """Take messages from an SQS queue until it is empty, or as many or as long as is said."""

    queue_url: Dynamic[Text]
    max_records: Dynamic[int | None] = Field(default=None, ge=1)
    max_duration: Dynamic[Duration] | None = None
    max_number_of_messages: Dynamic[int] = Field(default=5, ge=1, le=10)
    wait_time: Dynamic[Duration] | None = None
    visibility_timeout: Dynamic[int] | None = None
    auto_delete: Dynamic[bool] = True
    serde_type: Dynamic[Serde] = "STRING"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.max_records is None and self.max_duration is None:
            raise TaskMisconfigured("one of `maxRecords` and `maxDuration` has to be set")
        with aws_errors(f"read from the queue `{self.queue_url}`"):
            stored = fetched(self.messages(context), "STORE", context)
        context.metric("records", stored["size"], tags={"queue": self.queue_url})
        return {"uri": stored["uri"], "count": stored["size"]}

    @property
    def hidden(self) -> dict[str, int]:
        """How long what is read stays out of others' sight, as SQS takes it."""
        seconds = self.visibility_timeout
        return {"VisibilityTimeout": seconds} if seconds is not None else {}

    def messages(self, context: TaskContext) -> Iterator[Any]:
        """Yield messages, each deleted once the next one is asked for."""
        client = self.client("sqs")
        until = time.monotonic() + (self.max_duration or timedelta(days=365)).total_seconds()
        wanted = self.max_records if self.max_records is not None else -1
        wait = {"WaitTimeSeconds": int(self.wait_time.total_seconds())} if self.wait_time else {}
        hide = self.hidden
        while wanted and time.monotonic() < until:
            context.cancel.check()
            most = (
                self.max_number_of_messages
                if wanted < 0
                else min(self.max_number_of_messages, wanted)
            )
            answer = client.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=most, **wait, **hide
            )
            found = answer.get("Messages", ())
            for message in found:
                yield decoded(message["Body"], self.serde_type)
                wanted -= 1
                if self.auto_delete:
                    client.delete_message(
                        QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                    )
            if not found and self.max_duration is None:
                return
            if not found and not wait:
                context.cancel.sleep(0.2)


class SqsPoll(SqsConsume, Poll):
    """Look for messages of an SQS queue; they are deleted once their execution is safe."""

    max_records: Dynamic[int | None] = Field(default=1000, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with aws_errors(f"read from the queue `{self.queue_url}`"):
            client = self.client("sqs")
            bodies: list[Any] = []
            handles: list[str] = []
            while len(bodies) < (self.max_records or _AT_ONCE):
                context.cancel.check()
                answer = client.receive_message(
                    QueueUrl=self.queue_url,
                    MaxNumberOfMessages=self.max_number_of_messages,
                    **self.hidden,
                )
                found = answer.get("Messages", ())
                if not found:
                    break
                bodies += [decoded(message["Body"], self.serde_type) for message in found]
                handles += [message["ReceiptHandle"] for message in found]
            if not bodies:
                return Found(None, memory)
            stored = fetched(bodies, "STORE", context)

        def finish() -> None:
            for handle in handles if self.auto_delete else ():
                client.delete_message(QueueUrl=self.queue_url, ReceiptHandle=handle)

        return Found({"uri": stored["uri"], "count": stored["size"]}, memory, finish)


class SnsPublish(AwsSpec):
    """Send messages to an SNS topic; each is a map with `data`."""

    topic_arn: Dynamic[Text]
    from_: DataFrom = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        with aws_errors(f"send to the topic `{self.topic_arn}`"):
            client = self.client("sns")
            for message in each_map(self.from_, context):
                context.cancel.check()
                fields = {
                    "Message": data_of(message),
                    "Subject": message.get("subject"),
                    "PhoneNumber": message.get("phoneNumber"),
                    "MessageStructure": message.get("structure"),
                    "MessageGroupId": message.get("groupId"),
                    "MessageDeduplicationId": message.get("deduplicationId"),
                }
                kept = {name: value for name, value in fields.items() if value is not None}
                client.publish(TopicArn=self.topic_arn, **kept)
                count += 1
        context.metric("sns.publish.messages", count, tags={"topic": self.topic_arn})
        return {"messagesCount": count}


class PutEvents(AwsSpec):
    """Send events to EventBridge."""

    entries: DataFrom
    fail_on_unsuccessful_events: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        began = time.monotonic()
        with aws_errors("send events to EventBridge"):
            client = self.client("events")

            def send(entries: list[dict]) -> list[dict[str, Any]]:
                sent = client.put_events(Entries=[_event(entry) for entry in entries])
                return sent["Entries"]

            sent = put(each_map(self.entries, context), _AT_ONCE, send, "entry", context)
        sent.measure(began, context)
        outputs = {
            "uri": sent.stored(context),
            "failedEntryCount": len(sent.failed),
            "entryCount": len(sent.results),
        }
        return sent.checked(self.fail_on_unsuccessful_events, outputs)


def _sqs_message(message: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "MessageBody": data_of(message),
        "MessageGroupId": message.get("groupId"),
        "MessageDeduplicationId": message.get("deduplicationId"),
        "DelaySeconds": message.get("delaySeconds"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _event(entry: Mapping[str, Any]) -> dict[str, Any]:
    detail = written(entry, "detail", {})
    fields = {
        "EventBusName": written(entry, "eventBusName"),
        "Source": written(entry, "source"),
        "DetailType": written(entry, "detailType"),
        "Detail": detail if isinstance(detail, str) else json.dumps(detail),
        "Resources": written(entry, "resources"),
    }
    return {name: value for name, value in fields.items() if value is not None}
