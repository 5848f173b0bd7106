"""Kinesis: records written to streams and read from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.aws_batches import data_of, put, written
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import decoded
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import to_utc

_AT_ONCE = 500
_READ_AT_ONCE = 1000
_BETWEEN_READS = timedelta(seconds=0.2)
"""A shard may be read five times a second."""


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
        began = time.monotonic()
        with aws_errors(f"write to the stream `{arn or name}`"):
            client = self.client("kinesis")

            def send(records: list[dict]) -> list[dict[str, Any]]:
                sent = client.put_records(Records=[_record(one) for one in records], **stream)
                return sent["Records"]

            sent = put(each_map(self.records, context), _AT_ONCE, send, "record", context)
        sent.measure(began, context)
        outputs = {
            "uri": sent.stored(context),
            "failedRecordsCount": len(sent.failed),
            "recordCount": len(sent.results),
        }
        return sent.checked(self.fail_on_unsuccessful_records, outputs)


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
            stored = fetched(self.records(self._start, last, context), "STORE", context)
        context.metric("duration", time.monotonic() - began, "timer")
        context.metric("records", stored["size"])
        return {"uri": stored["uri"], "count": stored["size"], "lastSequencePerShard": last}

    def records(
        self,
        start: Callable[[str], Mapping[str, Any]],
        last: dict[str, str],
        context: TaskContext,
        *,
        to_end: bool = False,
    ) -> Iterator[Any]:
        """Yield records of all shards in turn, and keep the last number of each in `last`.

        `start` says where to begin in a shard. With `to_end`, stop where nothing more is there.
        """
        client = self.client("kinesis")
        until = time.monotonic() + self.max_duration.total_seconds()
        shards = client.get_paginator("list_shards").paginate(StreamName=self.stream_name)
        places: dict[str, str | None] = {
            shard["ShardId"]: client.get_shard_iterator(
                StreamName=self.stream_name, ShardId=shard["ShardId"], **start(shard["ShardId"])
            )["ShardIterator"]
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
                ended = to_end and not answer["Records"] and not answer.get("MillisBehindLatest")
                places[shard] = None if ended else answer.get("NextShardIterator")
            wait = _BETWEEN_READS if to_end else self.poll_duration
            pause = min(wait.total_seconds(), until - time.monotonic())
            if pause <= 0 or left <= 0 or not any(places.values()):
                return
            context.cancel.sleep(pause)

    def _start(self, shard: str) -> dict[str, Any]:
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
        return {"ShardIteratorType": self.iterator_type, **more}


class KinesisPoll(Consume, Poll):
    """Start the flow with the records that came to a Kinesis stream since the last look."""

    differences: ClassVar[Mapping[str, str]] = {
        "pollDuration": "the trigger takes what is there, and looks again after `interval`",
        "iteratorType": "it is for the first look, the others go on where the last one ended",
    }
    ignored: ClassVar[Mapping[str, str]] = {
        "consumerArn": "the stream is read, which needs no subscription",
        "shardDiscoveryInterval": "each look asks for the shards",
    }

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        known: Mapping[str, str] = memory.get("shards", {})
        now = datetime.now(timezone.utc).isoformat()
        since = memory.get("since")

        def start(shard: str) -> Mapping[str, Any]:
            if shard in known:
                after = {"StartingSequenceNumber": known[shard]}
                return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", **after}
            if since is None:
                return self._start(shard)
            at = {"Timestamp": datetime.fromisoformat(since)}
            return {"ShardIteratorType": "AT_TIMESTAMP", **at}

        last: dict[str, str] = {}
        with aws_errors(f"read the stream `{self.stream_name}`"):
            rows = list(self.records(start, last, context, to_end=True))
            stored = fetched(rows, "STORE", context) if rows else None
        kept = {"since": since or now, "shards": {**known, **last}}
        if stored is None:
            return Found(None, kept)
        outputs = {"uri": stored["uri"], "count": stored["size"], "lastSequencePerShard": last}
        return Found(outputs, kept)


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    key = written(record, "partitionKey")
    if key is None:
        raise TaskMisconfigured("every record needs a `partitionKey`")
    more = written(record, "explicitHashKey")
    return {
        "Data": data_of(record).encode(),
        "PartitionKey": str(key),
        **({"ExplicitHashKey": str(more)} if more is not None else {}),
    }
