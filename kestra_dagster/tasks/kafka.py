"""`io.kestra.plugin.kafka`: messages sent to topics and read from them."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.kafka_settings import Serde, deserialized, serializer, settings
from kestra_dagster.tasks.messages import MOST_AT_ONCE, LimitedSpec
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import to_utc

_LOOK_MS = 200
_JOIN_SECONDS = 30
_ANSWER_SECONDS = 60
_CLOSE_SECONDS = 5


class KafkaSpec(RunnableSpec):
    """Where the brokers are, by the settings of Kafka's own clients."""

    ignored: ClassVar[Mapping[str, str]] = {
        "serdeProperties": "they are for schema registries, which Avro alone needs"
    }

    properties: Dynamic[dict[str, Any]]


class Produce(KafkaSpec):
    """Send messages; each is a map with `value` and, if wanted, `key`, `headers`, `topic`..."""

    topic: Dynamic[Text] | None = None
    from_: DataFrom = Field(alias="from")
    key_serializer: Dynamic[Serde] = "STRING"
    value_serializer: Dynamic[Serde] = "STRING"
    transactional: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        kafka = needed("kafka", "kafka")
        given = settings(self.properties, kafka.KafkaProducer.DEFAULT_CONFIG)
        if self.transactional:
            given.setdefault("transactional_id", uuid.uuid4().hex)
        key, value = serializer(self.key_serializer), serializer(self.value_serializer)
        with _told():
            producer = kafka.KafkaProducer(**given)
            begun = False
            try:
                if self.transactional:
                    producer.init_transactions()
                    producer.begin_transaction()
                    begun = True
                sent = []
                for message in each_map(self.from_, context):
                    context.cancel.check()
                    topic = message.get("topic") or self.topic
                    if not topic:
                        raise TaskMisconfigured("neither `topic` nor a message names a topic")
                    sent.append(
                        producer.send(
                            str(topic),
                            value(message.get("value")),
                            key(message.get("key")),
                            headers=_headers(message.get("headers")),
                            partition=message.get("partition"),
                            timestamp_ms=_milliseconds(message.get("timestamp")),
                        )
                    )
                producer.flush(_ANSWER_SECONDS)
                for each in sent:
                    each.get(_ANSWER_SECONDS)
                if self.transactional:
                    producer.commit_transaction()
            except BaseException:
                # Left open, it would hold up all who read what is committed.
                with suppress(kafka.errors.KafkaError):
                    if begun:
                        producer.abort_transaction()
                with suppress(kafka.errors.KafkaError):
                    producer.close(timeout=_CLOSE_SECONDS)
                raise
            producer.close()
        context.metric("records", len(sent))
        return {"messagesCount": len(sent)}


class OnSerdeError(BaseModel, frozen=True, extra="forbid"):
    """What becomes of a message that is nothing of its kind."""

    type: Literal["SKIPPED"] = "SKIPPED"


class Consume(KafkaSpec, LimitedSpec):
    """Read messages until none come for `pollDuration`, or as many or as long as is said."""

    topic: Dynamic[Text | list[Text]] | None = None
    topic_pattern: Dynamic[Text] | None = None
    partitions: Dynamic[list[int]] | None = None
    group_id: Dynamic[Text] | None = None
    group_type: Dynamic[Literal["CONSUMER"]] = "CONSUMER"
    key_deserializer: Dynamic[Serde] = "STRING"
    value_deserializer: Dynamic[Serde] = "STRING"
    on_serde_error: Dynamic[OnSerdeError | None] = None
    since: Dynamic[datetime] | None = None
    poll_duration: Dynamic[Duration] = timedelta(seconds=5)
    header_filters: Dynamic[dict[str, Text]] | None = None
    deduplicate: Dynamic[bool] = False

    @model_validator(mode="after")
    def _check_topic(self) -> Consume:
        if bool(self.topic) == bool(self.topic_pattern):
            raise ValueError("needs one of `topic` and `topicPattern`")
        if self.topic_pattern and not self.group_id:
            raise ValueError("`topicPattern` needs `groupId`")
        return self

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        counts: Counter[str] = Counter()
        with _told():
            consumer = self._consumer()
            try:
                grouped = bool(self.group_id) and not self.partitions
                if grouped:
                    self._subscribe(consumer, context)
                else:
                    self.assign(consumer)
                stored = fetched(self.messages(consumer, context, counts), "STORE", context)
                if self._group():
                    # Only now are they safe; those of a task that failed come again.
                    consumer.commit()
            finally:
                consumer.close(autocommit=False)
        for topic, number in counts.items():
            context.metric("records", number, tags={"topic": topic})
        return {"messagesCount": stored["size"], "uri": stored["uri"]}

    def _group(self) -> str | None:
        return self.group_id or self.properties.get("group.id")

    def _consumer(self) -> Any:
        kafka = needed("kafka", "kafka")
        given = settings(self.properties, kafka.KafkaConsumer.DEFAULT_CONFIG)
        fixed = {"group_id": self._group(), "enable_auto_commit": False}
        given.setdefault("isolation_level", "read_committed")
        return kafka.KafkaConsumer(**{**given, **fixed})

    def _subscribe(self, consumer: Any, context: TaskContext) -> None:
        if self.topic_pattern:
            try:
                re.compile(self.topic_pattern)
            except re.error as error:
                raise TaskMisconfigured(f"`topicPattern` is not valid: {error}") from error
            consumer.subscribe(pattern=self.topic_pattern)
        else:
            consumer.subscribe(topics=self._topics())
        # Joining a group takes a while, in which nothing comes.
        until = time.monotonic() + _JOIN_SECONDS
        while not consumer.assignment() and time.monotonic() < until:
            context.cancel.check()
            consumer.poll(timeout_ms=_LOOK_MS, max_records=1, update_offsets=False)

    def _topics(self) -> list[str]:
        return [self.topic] if isinstance(self.topic, str) else self.topic or []

    def assign(self, consumer: Any) -> None:
        """Read the partitions from where the group is, else from `since` or the beginning."""
        from kafka.structs import TopicPartition

        places = []
        for topic in self._topics():
            numbers = self.partitions or consumer.partitions_for_topic(topic)
            if not numbers:
                raise TaskFailed(f"there is no topic `{topic}`")
            places += [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        if self.since is not None:
            when = int(to_utc(self.since).timestamp() * 1000)
            offsets = consumer.offsets_for_times(dict.fromkeys(places, when))
            for place in places:
                found = offsets.get(place)
                if found is None:
                    consumer.seek_to_end(place)
                else:
                    consumer.seek(place, found.offset)
        elif not self._group():
            consumer.seek_to_beginning(*places)

    def messages(
        self, consumer: Any, context: TaskContext, counts: Counter[str], most: int | None = None
    ) -> Iterator[Any]:
        """Yield messages as rows; `counts` has how many of each topic."""
        enough, total = self.enough(), 0
        limit = self.max_records or most
        seen: set[tuple[str, int, int]] = set()
        quiet_since = time.monotonic()
        while not enough(total) and (limit is None or total < limit):
            context.cancel.check()
            left = {} if limit is None else {"max_records": min(limit - total, 500)}
            found = consumer.poll(timeout_ms=_LOOK_MS, **left)
            if found:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self.poll_duration.total_seconds():
                return
            for record in (each for records in found.values() for each in records):
                place = (record.topic, record.partition, record.offset)
                row = None if place in seen else self._row(record, context)
                if self.deduplicate:
                    seen.add(place)
                if row is not None:
                    total += 1
                    counts[record.topic] += 1
                    yield row

    def _row(self, record: Any, context: TaskContext) -> dict[str, Any] | None:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if any(headers.get(name) != value for name, value in (self.header_filters or {}).items()):
            return None
        try:
            key = deserialized(record.key, self.key_deserializer)
            value = deserialized(record.value, self.value_deserializer)
        except ValueError as error:
            where = f"message {record.offset} of partition {record.partition} of `{record.topic}`"
            if self.on_serde_error is None:
                raise TaskFailed(
                    f"{where} is not {self.value_deserializer}: {error}",
                    hint="check `valueDeserializer`, or set `onSerdeError: {type: SKIPPED}`",
                ) from error
            context.log.warn(f"skipped {where}: {error}")
            return None
        when = datetime.fromtimestamp(record.timestamp / 1000, timezone.utc)
        return {
            "key": key,
            "value": value,
            "topic": record.topic,
            "headers": [{name: text} for name, text in headers.items()],
            "partition": record.partition,
            "timestamp": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "offset": record.offset,
        }


class KafkaPoll(Consume, Poll):
    """Look for messages; the group's place moves on once their execution is safe."""

    differences: ClassVar[Mapping[str, str]] = {
        "groupId": "the trigger reads all partitions by itself; nobody else may read in its group"
    }

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        if not self._group():
            raise TaskMisconfigured("the trigger needs `groupId`")
        with _told():
            consumer = self._consumer()
            try:
                self.assign(consumer)
                # Nobody to wait for: it does not join the group, it only keeps its place there.
                counts: Counter[str] = Counter()
                rows = list(self.messages(consumer, context, counts, MOST_AT_ONCE))
                if not rows:
                    # Where a group begins is remembered too.
                    consumer.commit()
                    consumer.close(autocommit=False)
                    return Found(None, memory)
                stored = fetched(rows, "STORE", context)
            except BaseException:
                consumer.close(autocommit=False)
                raise

        def finish() -> None:
            with _told():
                consumer.commit()
                consumer.close(autocommit=False)

        outputs = {"messagesCount": stored["size"], "uri": stored["uri"]}
        return Found(outputs, memory, finish, lambda: consumer.close(autocommit=False))


@contextmanager
def _told() -> Iterator[None]:
    from kafka import errors

    try:
        yield
    except (errors.KafkaConnectionError, errors.KafkaTimeoutError) as error:
        raise TaskFailed(
            f"no Kafka broker answers: {error}",
            hint="check `bootstrap.servers` and the network",
        ) from error
    except errors.UnknownTopicOrPartitionError as error:
        raise TaskFailed("Kafka: there is no such topic or partition") from error
    except errors.KafkaError as error:
        raise TaskFailed(f"Kafka: {error}") from error


def _headers(given: Any) -> list[tuple[str, bytes]]:
    pairs = given.items() if isinstance(given, Mapping) else ()
    if isinstance(given, list):
        pairs = [pair for each in given for pair in each.items()]
    return [(str(name), str(value).encode()) for name, value in pairs]


def _milliseconds(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        when = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise TaskMisconfigured(f"a `timestamp` is not a date with time: {error}") from error
    return int(to_utc(when).timestamp() * 1000)
