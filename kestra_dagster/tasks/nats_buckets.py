"""`io.kestra.plugin.nats.kv`: buckets of values, by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.messages import decoded, encoded
from kestra_dagster.tasks.nats import NatsSpec


class CreateBucket(NatsSpec):
    """Make a bucket of values."""

    ignored: ClassVar[Mapping[str, str]] = {
        "metadata": "the library that speaks to NATS does not tell it"
    }

    name: Dynamic[Text]
    description: Dynamic[Text] | None = None
    history_per_key: Dynamic[int] = Field(default=1, ge=1, le=64)
    bucket_size: Dynamic[int | None] = None
    value_size: Dynamic[int | None] = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        async def make(connection: Any) -> Any:
            bucket = await connection.jetstream().create_key_value(
                bucket=self.name,
                description=self.description,
                history=self.history_per_key,
                max_bytes=self.bucket_size,
                max_value_size=self.value_size,
            )
            return await bucket.status()

        status = self.session(context, make)
        return {
            "bucket": self.name,
            "description": self.description,
            "history": status.history,
            "entryCount": status.values,
            "bucketSize": self.bucket_size if self.bucket_size is not None else -1,
            "valueSize": self.value_size if self.value_size is not None else -1,
            "metadata": None,
        }


class _BucketSpec(NatsSpec):
    bucket_name: Dynamic[Text]


class Put(_BucketSpec):
    """Put values into a bucket, each as JSON."""

    values: Dynamic[dict[str, Any]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        async def put(connection: Any) -> dict[str, int]:
            bucket = await connection.jetstream().key_value(self.bucket_name)
            return {
                key: await bucket.put(key, encoded(value, "JSON"))
                for key, value in self.values.items()
            }

        return {"revisions": self.session(context, put)}


class Get(_BucketSpec):
    """Get values of a bucket; keys that it does not have are left out."""

    keys: Dynamic[list[Text]] = Field(default_factory=list)
    key_revisions: Dynamic[dict[str, int]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked = self.key_revisions or dict.fromkeys(self.keys)

        async def get(connection: Any) -> dict[str, Any]:
            from nats.js.errors import KeyNotFoundError

            bucket = await connection.jetstream().key_value(self.bucket_name)
            found = {}
            for key, revision in asked.items():
                try:
                    entry = await bucket.get(key, revision=revision)
                except KeyNotFoundError:
                    continue
                found[key] = decoded(entry.value, "JSON")
            return found

        return {"output": self.session(context, get)}


class Delete(_BucketSpec):
    """Delete values of a bucket."""

    keys: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        async def delete(connection: Any) -> None:
            bucket = await connection.jetstream().key_value(self.bucket_name)
            for key in self.keys:
                await bucket.delete(key)

        self.session(context, delete)
