"""Google Pub/Sub by its API: messages published to topics, taken from subscriptions, watched."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.gcp import GcpSpec, gcp_errors
from kestra_dagster.tasks.http_failures import Refused
from kestra_dagster.tasks.logins import bearer
from kestra_dagster.tasks.messages import MOST_AT_ONCE, LimitedSpec, Serde, decoded, encoded
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.rest import Rest, part, without_none

BASE = "https://pubsub.googleapis.com"
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_MOST = 100
"""Messages a request: those of Pub/Sub may have 10 MB together."""


class PubSub(Rest, GcpSpec):
    """A task about a topic."""

    topic: Dynamic[Text]
    serde_type: Dynamic[Serde] = "STRING"

    def root(self) -> str:
        emulator = os.environ.get(_EMULATOR)
        return f"http://{emulator}/v1" if emulator else f"{BASE}/v1"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        if os.environ.get(_EMULATOR) and not self.service_account:
            return {}
        return bearer(self.access_token())

    def place(self, kind: str, name: str) -> str:
        """Return the path of a topic or of a subscription."""
        project = self.project_id or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if not project:
            with gcp_errors("find the project"):
                _, project = self.credentials(_EMULATOR)
        if not project:
            raise TaskMisconfigured("no project is set", hint="set `projectId`")
        return f"projects/{part(project)}/{kind}/{part(name)}"


class Publish(PubSub):
    """Send messages to a topic; each is a map with `data`, `attributes` and `orderingKey`."""

    from_: DataFrom = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        url = f"/{self.place('topics', self.topic)}:publish"
        count, waiting = 0, []
        for message in each_map(self.from_, context):
            waiting.append(self._sent(message))
            if len(waiting) == _MOST:
                self.call(context, "POST", url, json={"messages": waiting})
                count, waiting = count + len(waiting), []
        if waiting:
            self.call(context, "POST", url, json={"messages": waiting})
        count += len(waiting)
        context.metric("records", count, tags={"topic": self.topic})
        return {"messagesCount": count}

    def _sent(self, message: Mapping[str, Any]) -> dict[str, Any]:
        data = message.get("data")
        named = {name: str(value) for name, value in (message.get("attributes") or {}).items()}
        sent = {
            "data": None if data is None else b64encode(encoded(data)).decode(),
            "attributes": named or None,
            "orderingKey": message.get("orderingKey"),
        }
        return without_none(sent)


class Consume(PubSub, LimitedSpec):
    """Take messages of a subscription, until as many or as long as is said."""

    subscription: Dynamic[Text]
    auto_create_subscription: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.check_limits()
        self.subscribe(context)
        taken: list[str] = []
        enough = self.enough()

        def messages() -> Iterator[Any]:
            while not enough(len(taken)):
                context.cancel.check()
                left = self.max_records - len(taken) if self.max_records else _MOST
                found = self.pulled(min(left, _MOST), context)
                for message, mark in found:
                    taken.append(mark)
                    yield message
                if not found:
                    context.cancel.sleep(0.5)

        stored = fetched(messages(), "STORE", context)
        # Only now are they safe; those of a task that failed come again.
        self.acknowledge(taken, context)
        context.metric("records", stored["size"], tags={"topic": self.topic})
        return {"uri": stored["uri"], "count": stored["size"]}

    def subscribe(self, context: TaskContext) -> None:
        """Make the subscription, if it is not there."""
        if not self.auto_create_subscription:
            return
        place = self.place("subscriptions", self.subscription)
        asked = {"topic": self.place("topics", self.topic)}
        try:
            self.call(context, "PUT", f"/{place}", json=asked)
        except Refused as error:
            if error.status != 409:
                raise

    def pulled(self, most: int, context: TaskContext) -> list[tuple[dict[str, Any], str]]:
        """Return messages that wait, each with the mark by which it is acknowledged."""
        place = self.place("subscriptions", self.subscription)
        asked = {"maxMessages": most, "returnImmediately": True}
        answer = self.call(context, "POST", f"/{place}:pull", json=asked) or {}
        found = []
        for each in answer.get("receivedMessages", ()):
            message = each["message"]
            data = b64decode(message.get("data") or "")
            told = {
                "data": decoded(data, self.serde_type) if data else None,
                "attributes": message.get("attributes") or {},
                "messageId": message.get("messageId"),
                "orderingKey": message.get("orderingKey") or "",
            }
            found.append((told, each["ackId"]))
        return found

    def acknowledge(self, marks: list[str], context: TaskContext) -> None:
        """Have the subscription forget messages."""
        place = self.place("subscriptions", self.subscription)
        for start in range(0, len(marks), _MOST):
            asked = {"ackIds": marks[start : start + _MOST]}
            self.call(context, "POST", f"/{place}:acknowledge", json=asked)


class PubSubPoll(Consume, Poll):
    """Look for messages; they are acknowledged once their execution is safe."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        self.subscribe(context)
        most = self.max_records or MOST_AT_ONCE
        found: list[tuple[dict[str, Any], str]] = []
        while len(found) < most:
            context.cancel.check()
            more = self.pulled(min(most - len(found), _MOST), context)
            if not more:
                break
            found += more
        if not found:
            return Found(None, memory)
        stored = fetched([message for message, _ in found], "STORE", context)
        marks = [mark for _, mark in found]
        outputs = {"uri": stored["uri"], "count": stored["size"]}
        return Found(outputs, memory, lambda: self.acknowledge(marks, context))
