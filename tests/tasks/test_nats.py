"""NATS: Debian's server, with JetStream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.nats import Consume, NatsPoll, Produce, Request
from kestra_dagster.tasks.nats_buckets import CreateBucket, Delete, Get, Put
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.brokers import nats_server


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with nats_server(tmp_path_factory.mktemp("nats")) as port:
        url = f"nats://127.0.0.1:{port}"
        yield {"url": url, "username": "me", "password": "pass"}


async def _with(on: dict[str, Any], work) -> Any:
    import nats

    connection = await nats.connect(on["url"], user="me", password="pass")
    try:
        return await work(connection)
    finally:
        await connection.close()


@pytest.fixture
def subject(on, request: pytest.FixtureRequest) -> str:
    """A subject that a stream keeps, of its own for each test."""
    name = request.node.name
    make = lambda one: one.jetstream().add_stream(name=name, subjects=[f"{name}.>"])  # noqa: E731
    asyncio.run(_with(on, make))
    return f"{name}.x"


def rows(context, outputs) -> list[Any]:
    return list(read_rows(outputs["uri"], context))


@pytest.mark.whole
def test_produce_and_consume(context, on, subject) -> None:
    messages = [{"data": "{{ task.id }}", "headers": {"source": "test"}}, {"data": {"n": 1}}]
    sent = {**on, "subject": subject, "from": messages}
    assert context.run(Produce, sent) == {"messagesCount": 2}
    asked = {**on, "subject": subject, "durableId": "reader", "pollDuration": "PT0.3S"}
    taken = context.run(Consume, {**asked, "maxRecords": 1})
    (row,) = rows(context, taken)
    assert (taken["messagesCount"], row["subject"], row["data"]) == (1, subject, "task")
    assert row["headers"] == {"source": ["test"]}
    assert [row["data"] for row in rows(context, context.run(Consume, asked))] == ['{"n": 1}']
    assert context.run(Consume, asked)["messagesCount"] == 0
    every = {**on, "subject": subject, "pollDuration": "PT0.3S", "batchSize": 1}
    assert context.run(Consume, every)["messagesCount"] == 2
    assert context.run(Consume, {**every, "since": "2100-01-01T00:00:00Z"})["messagesCount"] == 0


@pytest.mark.whole
def test_bytes(context, on, subject) -> None:
    uri = context.storage.put(b"from a file", "data.bin")
    base = {**on, "subject": subject}
    context.run(Produce, {**base, "from": {"data": uri}, "serializationType": "BINARY"})
    context.run(Produce, {**base, "from": {"data": "aGk="}, "serializationType": "BASE64"})
    taken = context.run(Consume, {**base, "pollDuration": "PT0.3S"})
    assert [row["data"] for row in rows(context, taken)] == ["from a file", "hi"]
    with pytest.raises(TaskMisconfigured, match="is not Base64"):
        context.run(Produce, {**base, "from": {"data": "?"}, "serializationType": "BASE64"})


@pytest.mark.whole
def test_time_that_is_over_before_the_server_answers_is_no_error(
    context, on, subject, monkeypatch
) -> None:
    """Where both come within 0.1 ms the library raises a plain error, which time alone brings."""
    from nats.js.client import JetStreamContext

    async def late(*_: Any, **__: Any) -> None:
        raise asyncio.TimeoutError

    monkeypatch.setattr(JetStreamContext.PullSubscription, "_fetch_n", late)
    taken = context.run(Consume, {**on, "subject": subject, "pollDuration": "PT0.3S"})
    assert taken["messagesCount"] == 0


@pytest.mark.whole
def test_messages_are_acknowledged_once_their_start_is_safe(context, on, subject) -> None:
    watch = {**on, "subject": subject, "durableId": "watch", "pollDuration": "PT0.3S"}
    poll = NatsPoll.model_validate(watch, context=RUN)
    assert poll.poll(context, {}).outputs is None
    context.run(Produce, {**on, "subject": subject, "from": [{"data": "1"}, {"data": "2"}]})
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert [row["data"] for row in rows(context, found.outputs)] == ["1", "2"]
    pending = lambda one: one.jetstream().consumer_info(subject[:-2], "watch")  # noqa: E731
    assert asyncio.run(_with(on, pending)).num_ack_pending == 2
    found.finish()
    assert asyncio.run(_with(on, pending)).num_ack_pending == 0
    assert poll.poll(context, {}).outputs is None


@pytest.mark.whole
def test_request(context, on) -> None:
    ready = threading.Event()

    async def answer(connection: Any) -> None:
        done = asyncio.get_running_loop().create_future()

        async def greet(message: Any) -> None:
            await message.respond(b"hello " + message.data)
            done.set_result(None)

        await connection.subscribe("greet", cb=greet)
        await connection.flush()
        ready.set()
        await asyncio.wait_for(done, 20)
        await connection.flush()

    thread = threading.Thread(target=lambda: asyncio.run(_with(on, answer)))
    thread.start()
    assert ready.wait(20)
    asked = {**on, "subject": "greet", "from": {"data": "{{ task.id }}"}}
    assert context.run(Request, asked) == {"response": "hello task"}
    thread.join()
    assert context.run(Request, {**asked, "requestTimeout": "PT0.2S"}) == {"response": None}


@pytest.mark.whole
def test_buckets(context, on) -> None:
    made = context.run(CreateBucket, {**on, "name": "values", "historyPerKey": 3})
    assert (made["bucket"], made["history"], made["entryCount"]) == ("values", 3, 0)
    bucket = {**on, "bucketName": "values"}
    put = {"values": {"one": {"n": 1}, "two": "text"}}
    assert context.run(Put, {**bucket, **put}) == {"revisions": {"one": 1, "two": 2}}
    context.run(Put, {**bucket, "values": {"one": 2}})
    keys = {**bucket, "keys": ["one", "two", "none"]}
    assert context.run(Get, keys) == {"output": {"one": 2, "two": "text"}}
    older = context.run(Get, {**bucket, "keyRevisions": {"one": 1}})
    assert older == {"output": {"one": {"n": 1}}}
    context.run(Delete, {**bucket, "keys": ["one"]})
    assert context.run(Get, keys) == {"output": {"two": "text"}}
    with pytest.raises(TaskFailed, match="NATS: "):
        context.run(Get, {**keys, "bucketName": "none"})


@pytest.mark.whole
def test_what_the_server_says_is_told(context, on) -> None:
    with pytest.raises(TaskFailed, match="refused the user, the password") as caught:
        context.run(Produce, {**on, "password": "hidden", "subject": "x", "from": {"data": "x"}})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskFailed, match=r"NATS: .*no stream|NATS: no"):
        context.run(Consume, {**on, "subject": "kept.nowhere", "maxRecords": 1})


def test_no_server(context) -> None:
    asked = {"url": "nats://127.0.0.1:9", "subject": "x", "from": {"data": "x"}}
    with pytest.raises(TaskFailed, match="no NATS server answers"):
        context.run(Produce, asked)
