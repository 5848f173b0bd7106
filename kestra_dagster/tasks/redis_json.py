"""`io.kestra.plugin.redis.json`: documents of RedisJSON, which Redis 8 and Redis Stack have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.redis import Expiry, RedisSpec, expire

ROOT = "$"


class DocumentSpec(RedisSpec):
    """A place in the document of a key."""

    key: Dynamic[Text]
    path: Dynamic[Text] = ROOT

    def read(self, client: Any) -> Any:
        """Return what is at the path, a list of all that fits for a path with `$`; None if none."""
        found = client.execute_command("JSON.GET", self.key, self.path)
        return None if found is None else json.loads(found)


class Get(DocumentSpec):
    """Get what is at a path of a document; of several things a list."""

    failed_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            found = self.read(client)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if found is None and self.failed_on_missing:
            raise TaskFailed(f"there is no document `{self.key}`")
        return {"key": self.key, "data": found}


class Guards(Part):
    """Whether a document is set at all."""

    must_not_exist: bool = False
    must_exist: bool = False


class Set(DocumentSpec):
    """Set what is at a path of a document; text that is JSON is what it says."""

    value: Dynamic[Any]
    options: Dynamic[Guards] = Guards()
    get: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        guards = ["NX"] * self.options.must_not_exist + ["XX"] * self.options.must_exist
        with self.connected(context) as client:
            old = self.read(client) if self.get else None
            client.execute_command("JSON.SET", self.key, self.path, _json(self.value), *guards)
        return {"oldValue": old} if old is not None else {}


class Increment(DocumentSpec):
    """Add to the number at a path of a document."""

    amount: Dynamic[int | float] = 1
    options: Dynamic[Expiry] = Expiry()

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            said = client.execute_command("JSON.NUMINCRBY", self.key, self.path, self.amount)
            expire(client, self.key, self.options)
        value = json.loads(said) if isinstance(said, str) else said
        if isinstance(value, list):
            value = value[0] if value else None
        if value is None:
            raise TaskFailed(f"there is no number at `{self.path}` of the document `{self.key}`")
        return {"key": self.key, "value": value}


class Delete(RedisSpec):
    """Delete documents, or what is at paths of them."""

    keys: Dynamic[dict[str, list[Text]]]
    failed_on_missing: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.connected(context) as client:
            count = sum(
                client.execute_command("JSON.DEL", key, path)
                for key, paths in self.keys.items()
                for path in paths or [ROOT]
            )
        context.metric("deleted.records.count", count)
        if count < len(self.keys) and self.failed_on_missing:
            raise TaskFailed(f"only {count} of {len(self.keys)} documents had something to delete")
        return {"count": count}


def _json(value: Any) -> str:
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return json.dumps(value)
        return value
    return json.dumps(value, ensure_ascii=False)
