"""`io.kestra.plugin.amqp`: messages of RabbitMQ and its like; queues, exchanges and bindings."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text, duration_text, parse_duration
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import MOST_AT_ONCE, LimitedSpec, Serde, decoded, encoded
from kestra_dagster.tasks.polling import Found, Poll

_CONNECT_SECONDS = 10
_LOOK_SECONDS = 0.2
_LARGEST_PREFETCH = 65_535
_PROPERTIES = {
    "contentType": "content_type",
    "contentEncoding": "content_encoding",
    "headers": "headers",
    "deliveryMode": "delivery_mode",
    "priority": "priority",
    "messageId": "message_id",
    "correlationId": "correlation_id",
    "replyTo": "reply_to",
    "expiration": "expiration",
    "timestamp": "timestamp",
    "type": "type",
    "userId": "user_id",
    "appId": "app_id",
}
"""Names of a message's properties in flows -> in the library."""


class AmqpSpec(RunnableSpec):
    """Where the broker is, and as whom to speak to it."""

    url: Dynamic[Text] | None = None
    host: Dynamic[Text] | None = None
    port: Dynamic[int] = 5672
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    virtual_host: Dynamic[Text] = "/"

    @model_validator(mode="after")
    def _check_place(self) -> AmqpSpec:
        if bool(self.url) == bool(self.host):
            raise ValueError("needs one of `url` and `host`")
        return self

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Give a channel; its errors are TaskFailed."""
        needed("pika", "amqp")
        with _told():
            connection = self._connection()
            try:
                yield connection.channel()
            finally:
                if connection.is_open:
                    connection.close()

    def open(self) -> Any:
        """Return a connection that the caller closes; use within `_told`."""
        return self._connection()

    def _connection(self) -> Any:
        pika = needed("pika", "amqp")
        place = self._place()
        secure = place["secure"] and pika.SSLOptions(ssl.create_default_context(), place["host"])
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                host=place["host"],
                port=place["port"],
                virtual_host=place["virtual_host"],
                credentials=pika.PlainCredentials(place["username"], place["password"]),
                ssl_options=secure or None,
                socket_timeout=_CONNECT_SECONDS,
                stack_timeout=_CONNECT_SECONDS,
                blocked_connection_timeout=60,
            )
        )

    def _place(self) -> dict[str, Any]:
        given = {
            "host": self.host,
            "port": self.port,
            "virtual_host": self.virtual_host,
            "username": self.username or "guest",
            "password": self.password or "guest",
            "secure": False,
        }
        if not self.url:
            return given
        try:
            url = urlsplit(self.url)
            port, host = url.port, url.hostname
        except ValueError:
            port, host, url = None, None, urlsplit("")
        if url.scheme not in ("amqp", "amqps") or not host:
            # The message must not show the URL, and with it the password.
            raise TaskMisconfigured(
                "`url` is not the address of an AMQP broker",
                hint="write `amqp://user:password@host:port/virtual_host`",
            )
        secure = url.scheme == "amqps"
        return {
            "host": host,
            "port": port or (5671 if secure else self.port),
            # As in Kestra, whose virtual hosts begin with the slash of the URL.
            "virtual_host": unquote(url.path) or self.virtual_host,
            "username": unquote(url.username or "") or given["username"],
            "password": unquote(url.password or "") or given["password"],
            "secure": secure,
        }


class Publish(AmqpSpec):
    """Send messages to an exchange; each is a map with `data` and properties such as `headers`."""

    exchange: Dynamic[Text]
    routing_key: Dynamic[Text] = ""
    from_: DataFrom = Field(alias="from")
    serde_type: Dynamic[Serde] = "STRING"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        with self.connected() as channel:
            channel.confirm_delivery()
            for message in each_map(self.from_, context):
                context.cancel.check()
                channel.basic_publish(
                    self.exchange,
                    self.routing_key,
                    encoded(message.get("data"), self.serde_type),
                    _properties(message),
                )
                count += 1
        context.metric("records", count)
        return {"messagesCount": count}


class Consume(AmqpSpec, LimitedSpec):
    """Take messages from a queue, until as many or as long as is said."""

    ignored: ClassVar[Mapping[str, str]] = {
        "autoAck": "messages are acknowledged once they are safe"
    }

    queue: Dynamic[Text]
    serde_type: Dynamic[Serde] = "STRING"
    consumer_tag: Dynamic[Text] = "Kestra"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.check_limits()
        with self.connected() as channel:
            taken = _Taken()
            stored = fetched(self._messages(channel, taken, context), "STORE", context)
            # Only now are they safe; a task that failed before leaves them in the queue.
            if taken.last is not None:
                channel.basic_ack(taken.last, multiple=True)
        context.metric("records", stored["size"], tags={"queue": self.queue})
        return {"uri": stored["uri"], "count": stored["size"]}

    def _messages(self, channel: Any, taken: _Taken, context: TaskContext) -> Iterator[Any]:
        most = self.max_records or 0
        channel.basic_qos(prefetch_count=most if most <= _LARGEST_PREFETCH else 0)
        arrived: deque[Any] = deque()
        channel.basic_consume(
            self.queue, lambda _, *found: arrived.append(found), consumer_tag=self.consumer_tag
        )
        enough, count = self.enough(), 0
        while not enough(count):
            context.cancel.check()
            if not arrived:
                channel.connection.process_data_events(time_limit=_LOOK_SECONDS)
                if not channel.is_open:
                    raise TaskFailed(f"the broker closed the queue `{self.queue}`")
                continue
            method, properties, body = arrived.popleft()
            yield _message(properties, body, self.serde_type)
            taken.last = method.delivery_tag
            count += 1
        channel.basic_cancel(self.consumer_tag)


class AmqpPoll(Consume, Poll):
    """Look for messages of a queue; they leave it once their execution is safe."""

    differences: ClassVar[Mapping[str, str]] = {
        "maxDuration": "the trigger takes what is in the queue, and does not wait"
    }

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        self.check_limits()
        with _told():
            connection = self.open()
            try:
                channel = connection.channel()
                last, messages = None, []
                while len(messages) < (self.max_records or MOST_AT_ONCE):
                    context.cancel.check()
                    method, properties, body = channel.basic_get(self.queue)
                    if method is None:
                        break
                    messages.append(_message(properties, body, self.serde_type))
                    last = method.delivery_tag
                if last is None:
                    connection.close()
                    return Found(None, memory)
                stored = fetched(messages, "STORE", context)
            except BaseException:
                # What was not acknowledged goes back to the queue.
                if connection.is_open:
                    connection.close()
                raise

        def finish() -> None:
            with _told():
                channel.basic_ack(last, multiple=True)
                connection.close()

        outputs = {"uri": stored["uri"], "count": stored["size"]}
        return Found(outputs, memory, finish, connection.close)


class CreateQueue(AmqpSpec):
    """Make a queue, if it is not there."""

    name: Dynamic[Text]
    durability: Dynamic[bool] = True
    exclusive: Dynamic[bool] = False
    auto_delete: Dynamic[bool] = False
    args: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected() as channel:
            channel.queue_declare(
                self.name,
                durable=self.durability,
                exclusive=self.exclusive,
                auto_delete=self.auto_delete,
                arguments=self.args,
            )
        return {"queue": self.name}


class DeclareExchange(AmqpSpec):
    """Make an exchange, if it is not there."""

    name: Dynamic[Text]
    exchange_type: Dynamic[Literal["DIRECT", "FANOUT", "TOPIC", "HEADERS"]] = "DIRECT"
    durability: Dynamic[bool] = True
    auto_delete: Dynamic[bool] = False
    internal: Dynamic[bool] = False
    args: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected() as channel:
            channel.exchange_declare(
                self.name,
                self.exchange_type.lower(),
                durable=self.durability,
                auto_delete=self.auto_delete,
                internal=self.internal,
                arguments=self.args,
            )
        return {"exchange": self.name}


class QueueBind(AmqpSpec):
    """Have an exchange send to a queue."""

    exchange: Dynamic[Text]
    queue: Dynamic[Text]
    routing_key: Dynamic[Text] = ""
    args: Dynamic[dict[str, Any]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected() as channel:
            channel.queue_bind(self.queue, self.exchange, self.routing_key, arguments=self.args)
        return {"queue": self.queue, "exchange": self.exchange}


class _Taken:
    """The delivery tag of the last message that was taken."""

    last: int | None = None


@contextmanager
def _told() -> Iterator[None]:
    from pika import exceptions

    try:
        yield
    except (exceptions.ProbableAuthenticationError, exceptions.ProbableAccessDeniedError) as error:
        raise TaskFailed(
            "the AMQP broker refused the user, the password or the virtual host",
            hint="check `url`, or `username`, `password` and `virtualHost`",
        ) from error
    except (exceptions.ConnectionClosedByBroker, exceptions.ChannelClosedByBroker) as error:
        raise TaskFailed(f"AMQP: {error.reply_text}") from error
    except exceptions.AMQPError as error:
        place = "check `url` or `host`, and the network"
        raise TaskFailed(f"no AMQP broker answers: {_reason(error)}", hint=place) from error
    except OSError as error:
        raise TaskFailed(f"no AMQP broker answers: {error}", hint="check the network") from error


def _reason(error: Exception) -> str:
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "exception", inner)
    return str(inner) or type(error).__name__


def _properties(message: Mapping[str, Any]) -> Any:
    import pika

    found = {
        name: message[key]
        for key, name in _PROPERTIES.items()
        if message.get(key) is not None and message[key] != ""
    }
    try:
        if "timestamp" in found:
            found["timestamp"] = _seconds(found["timestamp"])
        if "expiration" in found:
            lasts = parse_duration(found["expiration"])
            found["expiration"] = str(int(lasts / timedelta(milliseconds=1)))
    except ValueError as error:
        raise TaskMisconfigured(f"a message of `from` is not right: {error}") from error
    return pika.BasicProperties(**found)


def _seconds(value: Any) -> int:
    if isinstance(value, (int, float)):
        return int(value)
    # Python reads six digits of a second at most.
    whole = str(value).partition(".")[0].rstrip("Z")
    return int(datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp())


def _message(properties: Any, body: bytes, how: Serde) -> dict[str, Any]:
    found = {key: getattr(properties, name) for key, name in _PROPERTIES.items()}
    if found["timestamp"] is not None:
        when = datetime.fromtimestamp(found["timestamp"], timezone.utc)
        found["timestamp"] = when.isoformat().replace("+00:00", "Z")
    if found["expiration"] is not None:
        found["expiration"] = duration_text(timedelta(milliseconds=int(found["expiration"])))
    if found["headers"] is not None:
        found["headers"] = {key: str(value) for key, value in found["headers"].items()}
    return {"data": decoded(body, how), **found}
