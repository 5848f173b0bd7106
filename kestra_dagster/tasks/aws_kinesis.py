"""Kinesis: records written to streams and read from them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_batches import data_of, put
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import decoded
from kestra_dagster.tasks.rows import to_utc

_AT_ONCE = 500
_READ_AT_ONCE = 1000


class PutRecords(AwsSpec):
    """Write records to a Kinesis stream."""

    stream_name: Dynamic[Text] | None = None
    stream_arn: Dynamic[Text] | None = None
    records: DataFrom
    fail_on_unsuccessful_records: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if not (self.stream_name or self.stream_arn):
            raise TaskMisconfigured("one of `streamName` and `streamArn` has to be set")
        arn, name = self.stream_arn, self.stream_name
        stream = {"StreamARN": arn} if arn else {"StreamName": name}
        with aws_errors(f"write to the stream `{arn or name}`"):
            client = self.client("kinesis")

            def send(records: list[dict]) -> list[dict[str, Any]]:
                sent = client.put_records(Records=[_record(one) for one in records], **stream)
                return sent["Records"]

            sent = put(each_map(self.records, context), _AT_ONCE, send, "record", context)
        sent.measure(context)
        outputs = {
            "uri": sent.stored(context),
            "failedRecordsCount": len(sent.failed),
            "recordCount": len(sent.results),
        }
        sent.check(self.fail_on_unsuccessful_records, outputs)
        return outputs


class Consume(AwsSpec):
    """Read records of a Kinesis stream, until as many or for as long as is said."""

    stream_name: Dynamic[Text]
    iterator_type: Dynamic[
        Literal[
            "LATEST",
            "TRIM_HORIZON",
            "AT_SEQUENCE_NUMBER",
            "AFTER_SEQUENCE_NUMBER",
            "AT_TIMESTAMP",
        ]
    ] = "LATEST"
    starting_sequence_number: Dynamic[Text] | None = None
    timestamp: Dynamic[datetime] | None = None
    max_records: Dynamic[int] = Field(default=1000, ge=1)
    max_duration: Dynamic[Duration] = timedelta(seconds=30)
    poll_duration: Dynamic[Duration] = timedelta(seconds=1)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        began = time.monotonic()
        last: dict[str, str] = {}
        with aws_errors(f"read the stream `{self.stream_name}`"):
            stored = fetched(self._records(last, context), "STORE", context)
        context.metric("duration", time.monotonic() - began, "timer")
        context.metric("records", stored["size"])
        return {"uri": stored["uri"], "count": stored["size"], "lastSequencePerShard": last}

    def _records(self, last: dict[str, str], context: TaskContext) -> Iterator[Any]:
        """Yield records of all shards in turn, and keep the last number of each in `last`."""
        client = self.client("kinesis")
        until = time.monotonic() + self.max_duration.total_seconds()
        shards = client.get_paginator("list_shards").paginate(StreamName=self.stream_name)
        places: dict[str, str | None] = {
            shard["ShardId"]: self._start(client, shard["ShardId"])
            for page in shards
            for shard in page["Shards"]
        }
        left = self.max_records
        while left > 0 and any(places.values()):
            for shard, place in places.items():
                if place is None or left <= 0:
                    continue
                context.cancel.check()
                answer = client.get_records(ShardIterator=place, Limit=min(left, _READ_AT_ONCE))
                for record in answer["Records"]:
                    last[shard] = record["SequenceNumber"]
                    left -= 1
                    yield {
                        "data": decoded(record["Data"], "STRING"),
                        "partitionKey": record["PartitionKey"],
                        "sequenceNumber": record["SequenceNumber"],
                        "shardId": shard,
                        "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
                    }
                places[shard] = answer.get("NextShardIterator")
            pause = min(self.poll_duration.total_seconds(), until - time.monotonic())
            if pause <= 0 or left <= 0:
                return
            context.cancel.sleep(pause)

    def _start(self, client: Any, shard: str) -> str:
        more: dict[str, Any] = {}
        if self.iterator_type.endswith("SEQUENCE_NUMBER"):
            if not self.starting_sequence_number:
                raise TaskMisconfigured(
                    f"`iteratorType: {self.iterator_type}` needs `startingSequenceNumber`"
                )
            more["StartingSequenceNumber"] = self.starting_sequence_number
        elif self.iterator_type == "AT_TIMESTAMP":
            if self.timestamp is None:
                raise TaskMisconfigured("`iteratorType: AT_TIMESTAMP` needs `timestamp`")
            more["Timestamp"] = to_utc(self.timestamp)
        return client.get_shard_iterator(
            StreamName=self.stream_name, ShardId=shard, ShardIteratorType=self.iterator_type, **more
        )["ShardIterator"]


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    if record.get("partitionKey") is None:
        raise TaskMisconfigured("every record needs a `partitionKey`")
    more = record.get("explicitHashKey")
    return {
        "Data": data_of(record).encode(),
        "PartitionKey": str(record["partitionKey"]),
        **({"ExplicitHashKey": str(more)} if more is not None else {}),
    }
