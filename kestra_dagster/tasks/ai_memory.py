"""What a model remembers of earlier conversations (`ai.memory.*`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from kestra_dagster.flow.dialects import canonical
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.polymorphic import by_type
from kestra_dagster.flow.properties import Duration, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.extras import needed

Messages = list[dict[str, Any]]


class Memory(Part):
    """The last messages of a conversation; without `memoryId` those of this execution's family."""

    type: Text
    memory_id: Text | None = None
    messages: int = 10
    ttl: Duration = timedelta(hours=1)
    drop: Literal["NEVER", "BEFORE_TASKRUN", "AFTER_TASKRUN"] = "NEVER"

    def recall(self, context: TaskContext) -> Messages:
        """Return what was said before, the oldest first."""
        if self.drop == "BEFORE_TASKRUN":
            self.forget(context)
            return []
        text = self.read(context)
        return json.loads(text)[-self.messages :] if text else []

    def keep(self, messages: Sequence[Mapping[str, Any]], context: TaskContext) -> None:
        """Store the conversation, or forget it where the task says so."""
        if self.drop == "AFTER_TASKRUN":
            self.forget(context)
        else:
            last = list(messages)[-self.messages :]
            self.write(json.dumps(last, ensure_ascii=False), context)

    def key(self, context: TaskContext) -> str:
        """Return what the conversation goes by."""
        return self.memory_id or context.render("{{ labels.system.correlationId }}")

    def read(self, context: TaskContext) -> str | None:
        """Return what is stored, if it has not expired."""
        raise NotImplementedError(type(self).__name__)

    def write(self, text: str, context: TaskContext) -> None:
        """Store a text until `ttl` is over."""
        raise NotImplementedError(type(self).__name__)

    def forget(self, context: TaskContext) -> None:
        """Delete what is stored."""
        raise NotImplementedError(type(self).__name__)


class KestraKvStore(Memory):
    """In the key-value store of the flow's namespace."""

    def read(self, context: TaskContext) -> str | None:
        found = context.kv.get(_namespace(context), self.key(context))
        return found.value if found else None

    def write(self, text: str, context: TaskContext) -> None:
        about = f"Chat memory for the flow {context.variables['flow']['id']}"
        context.kv.set(
            _namespace(context), self.key(context), text, ttl=self.ttl, description=about
        )

    def forget(self, context: TaskContext) -> None:
        context.kv.delete(_namespace(context), self.key(context))


class Redis(Memory):
    """In Redis, by the memory's id."""

    host: Text
    port: int = 6379

    def read(self, context: TaskContext) -> str | None:
        with self._client() as client:
            found: Any = client.get(self.key(context))
        return found.decode() if found else None

    def write(self, text: str, context: TaskContext) -> None:
        with self._client() as client:
            client.set(self.key(context), text, ex=max(1, int(self.ttl.total_seconds())))

    def forget(self, context: TaskContext) -> None:
        with self._client() as client:
            client.delete(self.key(context))

    def _client(self) -> Any:
        return needed("redis", "redis").Redis(host=self.host, port=self.port)


MEMORIES: Mapping[str, type[Memory]] = {
    "io.kestra.plugin.ai.memory.KestraKVStore": KestraKvStore,
    "io.kestra.plugin.ai.memory.KestraKVMemory": KestraKvStore,
    "io.kestra.plugin.ai.memory.Redis": Redis,
}

AnyMemory = Annotated[Any, by_type("memory", lambda: MEMORIES, canonical, plugin=True)]


def _namespace(context: TaskContext) -> str:
    return str(context.variables["flow"]["namespace"])
