"""AMQP: Debian's RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.amqp import (
    AmqpPoll,
    Consume,
    CreateQueue,
    DeclareExchange,
    Publish,
    QueueBind,
)
from kestra_dagster.tasks.polling import polling_type
from kestra_dagster.tasks.rows import read_rows
from tests.tasks.brokers import rabbitmq


class Broker(NamedTuple):
    """Where RabbitMQ listens, and the certificate that it shows."""

    port: int
    secure: int
    certificate: Path


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("rabbitmq")
    with rabbitmq(folder) as ports:
        yield Broker(*ports, folder / "ca.pem")


@pytest.fixture
def port(broker: Broker) -> int:
    return broker.port


@pytest.fixture
def on(port: int) -> dict[str, Any]:
    return {"url": f"amqp://guest:guest@127.0.0.1:{port}"}


@pytest.fixture
def queue(context, on, request: pytest.FixtureRequest) -> str:
    """A queue of its own for each test, bound to an exchange of its name."""
    name = request.node.name
    assert context.run(CreateQueue, {**on, "name": name}) == {"queue": name}
    exchange = {**on, "name": name, "exchangeType": "FANOUT"}
    assert context.run(DeclareExchange, exchange) == {"exchange": name}
    bound = {"queue": name, "exchange": name}
    assert context.run(QueueBind, {**on, **bound}) == bound
    return name


def rows(context, outputs) -> list[Any]:
    return list(read_rows(outputs["uri"], context))


@pytest.mark.whole
def test_publish_and_consume(context, on, queue) -> None:
    messages = [
        {
            "data": "{{ task.id }}",
            "headers": {"source": "test"},
            "timestamp": "2023-01-09T08:46:33.103130753Z",
            "expiration": "PT1H",
            "appId": "unit",
            "deliveryMode": 2,
        },
        {"data": {"n": 1}},
    ]
    sent = {**on, "exchange": queue, "from": messages}
    assert context.run(Publish, sent) == {"messagesCount": 2}
    taken = context.run(Consume, {**on, "queue": queue, "maxRecords": 2})
    first, second = rows(context, taken)
    assert (taken["count"], first["data"], second["data"]) == (2, "task", '{"n": 1}')
    assert first["headers"] == {"source": "test"}
    assert first["timestamp"] == "2023-01-09T08:46:33Z"
    assert (first["expiration"], first["appId"], first["deliveryMode"]) == ("PT1H", "unit", 2)
    uri = context.storage.put(b'{"data": {"n": 2}}\n', "rows.ion")
    context.run(Publish, {**on, "exchange": queue, "from": uri, "serdeType": "JSON"})
    asked = {**on, "queue": queue, "maxDuration": "PT0.5S", "serdeType": "JSON"}
    assert [row["data"] for row in rows(context, context.run(Consume, asked))] == [{"n": 2}]
    assert context.run(Consume, asked)["count"] == 0


@pytest.mark.whole
def test_what_was_not_stored_stays_in_the_queue(context, on, queue) -> None:
    context.run(Publish, {**on, "exchange": queue, "from": [{"data": "1"}, {"data": "no JSON"}]})
    asked = {**on, "queue": queue, "maxRecords": 2}
    with pytest.raises(TaskFailed, match="a message is not JSON"):
        context.run(Consume, {**asked, "serdeType": "JSON"})
    assert [row["data"] for row in rows(context, context.run(Consume, asked))] == ["1", "no JSON"]


@pytest.mark.whole
def test_messages_leave_the_queue_once_their_start_is_safe(context, on, queue) -> None:
    poll = AmqpPoll.model_validate({**on, "queue": queue, "maxRecords": 2}, context=RUN)
    assert poll.poll(context, {}).outputs is None
    sent = [{"data": str(n)} for n in range(3)]
    context.run(Publish, {**on, "exchange": queue, "from": sent})
    lost = poll.poll(context, {})
    assert lost.outputs is not None
    lost.abandon()
    found = poll.poll(context, {})
    assert found.outputs is not None
    assert [row["data"] for row in rows(context, found.outputs)] == ["0", "1"]
    found.finish()
    kind = polling_type("io.kestra.plugin.amqp.RealtimeTrigger")
    assert kind is not None
    each = kind.model_validate({**on, "queue": queue}, context=RUN)
    lost = each.poll(context, {})
    assert len(lost.messages) == 1
    lost.abandon()
    context.run(Publish, {**on, "exchange": queue, "from": {"data": "3"}})
    left = each.poll(context, {})
    assert (left.outputs, [message["data"] for message in left.messages]) == (None, ["2", "3"])
    left.finish()
    assert not each.poll(context, {}).messages


@pytest.mark.whole
def test_tls_takes_who_is_known_to_this_machine(context, broker, monkeypatch) -> None:
    on = {"url": f"amqps://guest:guest@localhost:{broker.secure}"}
    with pytest.raises(TaskFailed, match="certificate"):
        context.run(CreateQueue, {**on, "name": "safe"})
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.certificate))
    assert context.run(CreateQueue, {**on, "name": "safe"}) == {"queue": "safe"}


@pytest.mark.whole
def test_what_the_broker_says_is_told(context, on, port) -> None:
    with pytest.raises(TaskFailed, match="no queue 'none'"):
        context.run(Consume, {**on, "queue": "none", "maxRecords": 1})
    with pytest.raises(TaskFailed, match="no exchange 'none'"):
        context.run(Publish, {**on, "exchange": "none", "from": {"data": "x"}})
    wrong = {"host": "127.0.0.1", "port": port, "username": "guest", "password": "hidden"}
    with pytest.raises(TaskFailed, match="refused the user, the password") as caught:
        context.run(CreateQueue, {**wrong, "name": "x"})
    assert "hidden" not in str(caught.value)
    with pytest.raises(TaskFailed, match="refused the user, the password or the virtual host"):
        context.run(CreateQueue, {"url": f"{on['url']}/none", "name": "x"})


def test_no_broker_and_no_limits(context) -> None:
    with pytest.raises(TaskFailed, match="no AMQP broker answers") as caught:
        context.run(CreateQueue, {"url": "amqp://me:hidden@127.0.0.1:9", "name": "x"})
    assert "hidden" not in str(caught.value)
    for url in ("http://me:hidden@x", "amqp://me:hidden@x:port"):
        with pytest.raises(TaskMisconfigured, match="is not the address of an AMQP") as caught:
            context.run(CreateQueue, {"url": url, "name": "x"})
        assert "hidden" not in str(caught.value)
    with pytest.raises(TaskMisconfigured, match="one of `maxRecords` and `maxDuration`"):
        context.run(Consume, {"url": "amqp://x", "queue": "x"})
    with pytest.raises(ValidationError, match="needs one of `url` and `host`"):
        context.run(Consume, {"url": "amqp://x", "host": "x", "queue": "x"})
