"""`io.kestra.plugin.redis`: strings, lists, channels and JSON values of a Redis server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import each
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.messages import Serde, decoded, encoded
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rows import to_utc

_CONNECT_SECONDS = 10

Values = Dynamic[Text | list[Any]]
"""The URI of a file of rows, a list, or JSON text of one."""


class RedisSpec(RunnableSpec):
    """Where the server is."""

    url: Dynamic[Text]

    @contextmanager
    def connected(self, context: TaskContext) -> Iterator[Any]:
        """Give a client; its errors are TaskFailed, and a cancelled task is cut off."""
        redis = needed("redis", "redis")
        try:
            client = redis.Redis.from_url(
                self.url, decode_responses=True, socket_connect_timeout=_CONNECT_SECONDS
            )
        except ValueError:
            # The message would show the URL, and with it the password.
            raise TaskMisconfigured(
                "`url` is not the address of a Redis server",
                hint="write `redis://user:password@host:port/database`",
            ) from None
        forget = context.cancel.on_cancel(client.connection_pool.disconnect)
        try:
            yield client
        except redis.RedisError as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            raise _failed(redis, error) from error
        finally:
            forget()
            client.close()


class Expiry(BaseModel):
    """When a key ends."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    expiration_duration: Duration | None = None
    expiration_date: datetime | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Expiry:
        if self.expiration_duration is not None and self.expiration_date is not None:
            raise ValueError("`expirationDuration` and `expirationDate` exclude each other")
        return self

    def arguments(self) -> dict[str, int]:
        """Return what `SET` is told."""
        if self.expiration_duration is not None:
            return {"px": int(self.expiration_duration / timedelta(milliseconds=1))}
        if self.expiration_date is not None:
            return {"pxat": int(to_utc(self.expiration_date).timestamp() * 1000)}
        return {}


class SetOptions(Expiry):
    """When a key ends, and whether it is set at all."""

    must_not_exist: bool = False
    must_exist: bool = False
    keep_ttl: bool = False


class Get(RedisSpec):
    """Get the value of a key."""

    key: Dynamic[Text]
    serde_type: Dynamic[Serde] = "STRING"
    failed_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            found = client.get(self.key)
        if found is None and self.failed_on_missing:
            raise TaskFailed(f"there is no key `{self.key}`")
        return {
            "key": self.key,
            "data": None if found is None else decoded(found, self.serde_type, "a value"),
        }


class Set(RedisSpec):
    """Set the value of a key."""

    key: Dynamic[Text]
    value: Dynamic[Any]
    options: Dynamic[SetOptions] = SetOptions()
    get: Dynamic[bool] = False
    serde_type: Dynamic[Serde] = "STRING"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        given = self.options
        with self.connected(context) as client:
            old = client.set(
                self.key,
                encoded(self.value, self.serde_type),
                nx=given.must_not_exist,
                xx=given.must_exist,
                keepttl=given.keep_ttl,
                get=self.get,
                **given.arguments(),
            )
        return {"oldValue": old} if self.get and old is not None else {}


class Delete(RedisSpec):
    """Delete keys."""

    keys: Dynamic[list[Text]]
    failed_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            count = client.delete(*self.keys) if self.keys else 0
        context.metric("deleted.records.count", count)
        if count < len(self.keys) and self.failed_on_missing:
            raise TaskFailed(f"{len(self.keys) - count} of {len(self.keys)} keys do not exist")
        return {"count": count}


class Increment(RedisSpec):
    """Add to the number that a key holds; a key that does not exist holds 0."""

    key: Dynamic[Text]
    amount: Dynamic[int | float] = 1
    options: Dynamic[Expiry] = Expiry()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        whole = isinstance(self.amount, int)
        with self.connected(context) as client:
            add = client.incrby if whole else client.incrbyfloat
            value = add(self.key, self.amount)
            expire(client, self.key, self.options)
        return {"key": self.key, "value": value}


class Ttl(RedisSpec):
    """Tell how many seconds a key has left: -1 for ever, -2 where there is none."""

    key: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            return {"key": self.key, "ttl": client.ttl(self.key)}


class _Sending(RedisSpec):
    """What the tasks share that send values one by one."""

    counted: ClassVar[str]
    from_: Values = Field(alias="from")
    serde_type: Dynamic[Serde] = "STRING"

    def send(self, client: Any, value: bytes) -> None:
        """Send one value."""
        raise NotImplementedError(type(self).__name__)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        count = 0
        with self.connected(context) as client:
            for value in each(self.from_, context):
                context.cancel.check()
                self.send(client, encoded(value, self.serde_type))
                count += 1
        context.metric(self.counted, count)
        return {"count": count}


class ListPush(_Sending):
    """Put values in front of a list."""

    counted = "inserted.records.count"
    key: Dynamic[Text]

    def send(self, client: Any, value: bytes) -> None:
        client.lpush(self.key, value)


class Publish(_Sending):
    """Send values to those who listen to a channel."""

    counted = "published.records.count"
    channel: Dynamic[Text]

    def send(self, client: Any, value: bytes) -> None:
        client.publish(self.channel, value)


class ListPop(RedisSpec):
    """Take values from the front of a list, until it is empty or as many or as long as is said."""

    key: Dynamic[Text]
    count: Dynamic[int] = Field(default=100, ge=1)
    max_records: Dynamic[int | None] = Field(default=None, ge=1)
    max_duration: Dynamic[Duration] | None = None
    serde_type: Dynamic[Serde] = "STRING"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if self.max_records is None and self.max_duration is None:
            raise TaskMisconfigured("one of `maxRecords` and `maxDuration` has to be set")
        with self.connected(context) as client:
            stored = fetched(self.taken(client, context), "STORE", context)
        context.metric("popped.records.count", stored["size"], tags={"key": self.key})
        return {"uri": stored["uri"], "count": stored["size"]}

    def taken(self, client: Any, context: TaskContext) -> Iterator[Any]:
        """Yield values, `count` a request, never more than `maxRecords`."""
        until = time.monotonic() + (self.max_duration or timedelta(days=365)).total_seconds()
        left = self.max_records
        while (left is None or left > 0) and time.monotonic() < until:
            context.cancel.check()
            found = client.lpop(self.key, self.count if left is None else min(self.count, left))
            if not found:
                return
            for value in found:
                yield decoded(value, self.serde_type, "a value")
            left = None if left is None else left - len(found)


class RedisListPoll(ListPop, Poll):
    """Start the flow with the values of a list, which are taken away once the start is safe."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        if self.max_records is None and self.max_duration is None:
            raise TaskMisconfigured("one of `maxRecords` and `maxDuration` has to be set")
        last = -1 if self.max_records is None else self.max_records - 1
        with self.connected(context) as client:
            values = client.lrange(self.key, 0, last)
        if not values:
            return Found(None, memory)
        stored = fetched(
            (decoded(value, self.serde_type, "a value") for value in values), "STORE", context
        )

        def finish() -> None:
            # By value, from the front: others may have pushed or taken meanwhile.
            with self.connected(context) as client, client.pipeline() as pipe:
                for value in values:
                    pipe.lrem(self.key, 1, value)
                pipe.execute()

        return Found({"uri": stored["uri"], "count": stored["size"]}, memory, finish)


def expire(client: Any, key: str, expiry: Expiry) -> None:
    """Say when a key ends, where anything is said."""
    when = expiry.arguments()
    if "px" in when:
        client.pexpire(key, when["px"])
    elif "pxat" in when:
        client.pexpireat(key, when["pxat"])


def _failed(redis: Any, error: Exception) -> TaskFailed:
    if isinstance(error, redis.AuthenticationError):
        return TaskFailed(
            "Redis refused the user or the password", hint="check `url`: redis://user:password@..."
        )
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return TaskFailed(f"no Redis server answers: {error}", hint="check `url` and the network")
    return TaskFailed(f"Redis: {error}")
