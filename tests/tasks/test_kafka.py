"""Kafka: its own broker, or another of its protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.kafka import Consume, KafkaPoll, Produce
from kestra_dagster.tasks.kafka_settings import deserialized, serializer, settings
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.brokers import kafka, needs_kafka_itself


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with kafka(tmp_path_factory.mktemp("kafka")) as address:
        yield address


@pytest.fixture
def on(address: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A topic of its own for each test."""
    servers = {"bootstrap.servers": address, "auto.offset.reset": "earliest"}
    # Tansu takes half of this to tell that nobody else joins.
    servers |= {"session.timeout.ms": "1000", "heartbeat.interval.ms": "300"}
    return {"properties": servers, "topic": request.node.name}


def sender(on: dict[str, Any]) -> dict[str, Any]:
    servers = {"bootstrap.servers": on["properties"]["bootstrap.servers"]}
    return {**on, "properties": servers}


def rows(context, outputs) -> list[Any]:
    found = list(read_rows(outputs["uri"], context))
    return sorted(found, key=lambda row: json.dumps(row["value"]))


@pytest.mark.whole
def test_produce_and_consume(context, on) -> None:
    messages = [
        {
            "key": "k",
            "value": "{{ task.id }}",
            "headers": {"source": "test"},
            "timestamp": "2024-01-02T03:04:05.678Z",
            "partition": 1,
        },
        {"value": {"n": 1}},
    ]
    assert context.run(Produce, {**sender(on), "from": messages}) == {"messagesCount": 2}
    quick = {**on, "pollDuration": "PT1S"}
    taken = context.run(Consume, {**quick, "maxRecords": 2})
    second, first = sorted(rows(context, taken), key=lambda row: row["key"] == "k")
    assert (taken["messagesCount"], first["value"], first["key"]) == (2, "task", "k")
    assert (first["partition"], first["headers"]) == (1, [{"source": "test"}])
    assert first["timestamp"] == "2024-01-02T03:04:05.678Z"
    assert (second["value"], second["key"]) == ('{"n": 1}', None)
    one = context.run(Consume, {**quick, "headerFilters": {"source": "test"}, "maxRecords": 1})
    assert [row["value"] for row in rows(context, one)] == ["task"]


@pytest.mark.whole
def test_what_came_since(context, on) -> None:
    needs_kafka_itself()
    old = {"value": "old", "timestamp": "2024-01-02T03:04:05Z", "partition": 1}
    context.run(Produce, {**sender(on), "from": [old, {"value": "new"}]})
    since = {**on, "since": "2025-01-01T00:00:00Z", "pollDuration": "PT1S", "maxRecords": 1}
    assert [row["value"] for row in rows(context, context.run(Consume, since))] == ["new"]


@pytest.mark.whole
def test_a_group_goes_on_where_it_was(context, on) -> None:
    uri = context.storage.put(b'{"value": {"n": 1}}\n{"value": {"n": 2}}\n', "rows.ion")
    context.run(Produce, {**sender(on), "from": uri, "valueSerializer": "JSON"})
    asked = {**on, "groupId": "readers", "maxRecords": 2, "valueDeserializer": "JSON"}
    with pytest.raises(TaskFailed, match="is not INTEGER"):
        context.run(Consume, {**asked, "valueDeserializer": "INTEGER"})
    first = context.run(Consume, asked)
    assert [row["value"] for row in rows(context, first)] == [{"n": 1}, {"n": 2}]
    context.run(Produce, {**sender(on), "from": {"value": {"n": 3}}, "valueSerializer": "JSON"})
    second = context.run(Consume, {**asked, "maxRecords": 1})
    assert [row["value"] for row in rows(context, second)] == [{"n": 3}]


@pytest.mark.whole
def test_what_fails_in_a_transaction_is_not_read(context, on) -> None:
    messages = [{"value": 1}, {"value": "no number"}]
    with pytest.raises(TaskFailed, match="cannot be written as LONG"):
        context.run(Produce, {**sender(on), "from": messages, "valueSerializer": "LONG"})
    context.run(Produce, {**sender(on), "from": {"value": 7}, "valueSerializer": "LONG"})
    asked = {**on, "valueDeserializer": "LONG", "pollDuration": "PT1S", "maxRecords": 1}
    assert [row["value"] for row in rows(context, context.run(Consume, asked))] == [7]


@pytest.mark.whole
def test_the_place_of_the_group_moves_once_the_start_is_safe(context, on) -> None:
    context.run(Produce, {**sender(on), "from": [{"value": "1"}, {"value": "2"}]})
    watch = {**on, "groupId": "watch", "pollDuration": "PT1S", "maxRecords": 2}
    poll = KafkaPoll.model_validate(watch, context=RUN)
    lost = poll.poll(context, {})
    assert lost.outputs is not None
    lost.abandon()
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert [row["value"] for row in rows(context, found.outputs)] == ["1", "2"]
    found.finish()
    assert poll.poll(context, {}).outputs is None
    context.run(Produce, {**sender(on), "from": {"value": "3"}})
    more = poll.model_copy(update={"max_records": 1}).poll(context, {})
    assert more.outputs is not None
    assert [row["value"] for row in rows(context, more.outputs)] == ["3"]
    more.finish()


@pytest.mark.parametrize(
    ("how", "value", "data"),
    [
        ("STRING", "x", b"x"),
        ("INTEGER", 1, b"\0\0\0\1"),
        ("LONG", -1, b"\xff" * 8),
        ("SHORT", 2, b"\0\2"),
        ("DOUBLE", 1.5, b"\x3f\xf8" + b"\0" * 6),
        ("FLOAT", 1.5, b"\x3f\xc0\0\0"),
        ("BYTES", "aGk=", b"hi"),
        ("UUID", "12345678-1234-1234-1234-123456789abc", b"12345678-1234-1234-1234-123456789abc"),
        ("JSON", {"a": [1]}, b'{"a": [1]}'),
        ("VOID", None, None),
    ],
)
def test_types_both_ways(how, value, data) -> None:
    assert serializer(how)(value) == data
    assert deserialized(data, how) == value


def test_settings() -> None:
    known = {"bootstrap_servers": "x", "linger_ms": 0, "enable_idempotence": True, "acks": 1}
    login = {"sasl.jaas.config": 'x required username="me" password="p;w";'}
    given = {"bootstrap.servers": "a:1, b:2", "linger.ms": "5", "acks": "all", **login}
    assert settings(given, known) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "linger_ms": 5,
        "acks": "all",
        "sasl_plain_username": "me",
        "sasl_plain_password": "p;w",
    }
    with pytest.raises(TaskMisconfigured, match=r"needs `bootstrap\.servers`"):
        settings({}, known)
    with pytest.raises(TaskMisconfigured, match=r"`interceptor\.classes` is not supported"):
        settings({**given, "interceptor.classes": "x"}, known)
    with pytest.raises(TaskMisconfigured, match=r"`linger\.ms: soon` is not right"):
        settings({**given, "linger.ms": "soon"}, known)
    with pytest.raises(TaskMisconfigured, match="has no `username`") as caught:
        settings({**given, "sasl.jaas.config": "password=hidden"}, known)
    assert "hidden" not in str(caught.value)


def test_what_cannot_work(context) -> None:
    dead = {"bootstrap.servers": "127.0.0.1:9", "bootstrap.timeout.ms": "200"}
    with pytest.raises(TaskFailed, match="no Kafka broker answers"):
        context.run(Consume, {"properties": dead, "topic": "x", "maxRecords": 1})
    with pytest.raises(ValidationError, match="needs one of `topic` and `topicPattern`"):
        context.run(Consume, {"properties": dead})
    with pytest.raises(ValidationError, match="`topicPattern` needs `groupId`"):
        context.run(Consume, {"properties": dead, "topicPattern": "x.*"})
