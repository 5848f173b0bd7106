"""`io.kestra.plugin.nats.core`: messages of subjects and streams, and requests."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import MOST_AT_ONCE, LimitedSpec, decoded, encoded
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import to_utc

_CONNECT_SECONDS = 10
_BATCH = 100
_POLICIES = {
    "All": "all",
    "Last": "last",
    "New": "new",
    "ByStartSequence": "by_start_sequence",
    "ByStartTime": "by_start_time",
    "LastPerSubject": "last_per_subject",
}
Policy = Literal["All", "Last", "New", "ByStartSequence", "ByStartTime", "LastPerSubject"]


class NatsSpec(RunnableSpec):
    """Where the server is, and as whom to speak to it."""

    url: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    token: Dynamic[Text] | None = None
    creds: Dynamic[Text] | None = None

    def session(self, context: TaskContext, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Connect, do `work` with the connection, and close it; its errors are TaskFailed."""

        async def whole() -> Any:
            connection = await self.connect()
            try:
                return await work(connection)
            finally:
                await connection.close()

        return _told(lambda: asyncio.run(_cancellable(whole(), context)))

    async def connect(self) -> Any:
        """Return an open connection."""
        nats = needed("nats", "nats")
        from nats.aio.client import RawCredentials

        # What happens in the background is told by what fails because of it.
        async def silent(_: Exception) -> None:
            return None

        more = {"user_credentials": RawCredentials(self.creds)} if self.creds else {}
        return await nats.connect(
            self.url,
            user=self.username,
            password=self.password,
            token=self.token,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            allow_reconnect=False,
            error_cb=silent,
            **more,
        )


class Produce(NatsSpec):
    """Send messages to a subject; each is a map with `data` and `headers`."""

    subject: Dynamic[Text]
    from_: DataFrom = Field(alias="from")
    serialization_type: Dynamic[Literal["STRING", "BASE64", "BINARY"]] = "STRING"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        async def send(connection: Any) -> int:
            count = 0
            for message in each_map(self.from_, context):
                data = self._data(message.get("data"), context)
                await connection.publish(self.subject, data, headers=_headers(message))
                count += 1
            await connection.flush()
            return count

        return {"messagesCount": self.session(context, send)}

    def _data(self, data: Any, context: TaskContext) -> bytes:
        if self.serialization_type == "STRING":
            return encoded("" if data is None else data)
        if not isinstance(data, str):
            raise TaskMisconfigured(
                f"`data` of a message has to be text with `serializationType: "
                f"{self.serialization_type}`"
            )
        if self.serialization_type == "BINARY":
            with context.storage.open(data) as file:
                return file.read()
        try:
            return base64.b64decode(data, validate=True)
        except ValueError as error:
            raise TaskMisconfigured(f"`data` of a message is not Base64: {error}") from error


class Request(NatsSpec):
    """Send a message to a subject and wait for the answer."""

    subject: Dynamic[Text]
    from_: DataFrom = Field(alias="from")
    request_timeout: Dynamic[Duration] = timedelta(seconds=5)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        message = next(each_map(self.from_, context), None)
        if message is None:
            raise TaskMisconfigured("`from` holds no message")

        async def ask(connection: Any) -> str | None:
            from nats.errors import NoRespondersError
            from nats.errors import TimeoutError as TooLate

            try:
                answer = await connection.request(
                    self.subject,
                    encoded(message.get("data")),
                    timeout=self.request_timeout.total_seconds(),
                    headers=_headers(message),
                )
            except (NoRespondersError, TooLate):
                context.log.warn(f"nobody answered to `{self.subject}`")
                return None
            return answer.data.decode()

        return {"response": self.session(context, ask)}


class Consume(NatsSpec, LimitedSpec):
    """Take messages of a subject that a stream keeps, until there are none or enough."""

    subject: Dynamic[Text]
    durable_id: Dynamic[Text] | None = None
    since: Dynamic[datetime] | None = None
    poll_duration: Dynamic[Duration] = timedelta(seconds=2)
    batch_size: Dynamic[int] = Field(default=10, ge=1)
    deliver_policy: Dynamic[Policy] = "All"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        async def take(connection: Any) -> dict[str, Any]:
            found = await self.taken(connection, self.poll_duration.total_seconds())
            stored = fetched((_message(each) for each in found), "STORE", context)
            # Only now are they safe; those of a task that failed come again.
            for each in found:
                await each.ack()
            return stored

        stored = self.session(context, take)
        return {"messagesCount": stored["size"], "uri": stored["uri"]}

    async def taken(self, connection: Any, wait: float, most: int | None = None) -> list[Any]:
        """Return messages that are not acknowledged yet, waiting so many seconds for each batch."""
        from nats.js.api import ConsumerConfig, DeliverPolicy

        policy = "by_start_time" if self.since else _POLICIES[self.deliver_policy]
        settings = ConsumerConfig(
            deliver_policy=DeliverPolicy(policy),
            opt_start_time=to_utc(self.since) if self.since else None,
            max_ack_pending=-1,
        )
        # A consumer that is there keeps the settings that it was made with.
        stream = await connection.jetstream().find_stream_name_by_subject(self.subject)
        subscription = await connection.jetstream().pull_subscribe(
            self.subject, durable=self.durable_id, stream=stream, config=settings
        )
        most = self.max_records or most
        enough = self.enough()
        found: list[Any] = []
        while not enough(len(found)) and (most is None or len(found) < most):
            left = self.batch_size if most is None else min(self.batch_size, most - len(found))
            try:
                found += await subscription.fetch(left, timeout=wait)
            # The library's own, or plain where the time was over before the server's answer.
            except asyncio.TimeoutError:
                break
        return found


class NatsPoll(Consume, Poll):
    """Look for messages; they are acknowledged once their execution is safe."""

    batch_size: Dynamic[int] = Field(default=_BATCH, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        loop = asyncio.new_event_loop()

        def close() -> None:
            loop.run_until_complete(connection.close())
            loop.close()

        connection: Any = None
        try:
            connection = _told(lambda: loop.run_until_complete(self.connect()))
            wait = min(self.poll_duration.total_seconds(), 1.0)
            found = _told(
                lambda: loop.run_until_complete(self.taken(connection, wait, MOST_AT_ONCE))
            )
            rows = [_message(each) for each in found]
            stored = fetched(rows, "STORE", context) if rows else {}
        except BaseException:
            if connection is not None:
                close()
            raise
        if not stored:
            close()
            return Found(None, memory)

        async def acknowledge() -> None:
            for each in found:
                await each.ack()
            await connection.flush()

        def finish() -> None:
            _told(lambda: loop.run_until_complete(acknowledge()))
            close()

        outputs = {"messagesCount": stored["size"], "uri": stored["uri"]}
        return Found(outputs, memory, finish, close)


async def _cancellable(work: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    forget = context.cancel.on_cancel(stop)
    try:
        return await task
    except asyncio.CancelledError:
        context.cancel.check()
        raise
    finally:
        forget()


def _told(work: Callable[[], Any]) -> Any:
    """Do something with NATS; its errors are TaskFailed."""
    needed("nats", "nats")
    from nats.errors import AuthorizationError, Error, NoServersError
    from nats.js.errors import APIError, NotFoundError

    try:
        return work()
    except (NoServersError, OSError, asyncio.TimeoutError) as error:
        raise TaskFailed(
            f"no NATS server answers: {error}", hint="check `url` and the network"
        ) from error
    except AuthorizationError as error:
        raise TaskFailed(
            "NATS refused the user, the password or the token", hint="check the credentials"
        ) from error
    except NotFoundError as error:
        raise TaskFailed(
            f"NATS: {error.description or 'not found'}",
            hint="messages and values need a stream or a bucket that keeps them",
        ) from error
    except APIError as error:
        raise TaskFailed(f"NATS: {error.description}") from error
    except Error as error:
        if "authorization" in str(error).lower():
            raise TaskFailed(
                "NATS refused the user, the password or the token", hint="check the credentials"
            ) from error
        raise TaskFailed(f"NATS: {error}") from error


def _headers(message: Mapping[str, Any]) -> dict[str, str] | None:
    given = message.get("headers") or {}
    found = {}
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        if len(values) > 1:
            raise TaskMisconfigured(f"the header `{name}` has several values; NATS is sent one")
        found[name] = values[0] if isinstance(values[0], str) else json.dumps(values[0])
    return found or None


def _message(found: Any) -> dict[str, Any]:
    return {
        "subject": found.subject,
        "headers": {name: [value] for name, value in (found.headers or {}).items()},
        "data": decoded(found.data, "STRING"),
        "timestamp": found.metadata.timestamp.isoformat().replace("+00:00", "Z"),
    }
