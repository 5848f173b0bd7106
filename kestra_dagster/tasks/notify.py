"""Notifications by HTTP: a payload to an address, or the summary of an execution in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.execution_summary import Summary, summary_of
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions

Payload = Text | dict[str, Any] | list[Any]


class NotifyOptions(HttpOptions):
    """The options of the client, with headers to add."""

    headers: dict[str, Text] | None = None


class Notify(RunnableSpec):
    """Sends a message by one request; what a type adds is its address, its headers, its body."""

    options: Dynamic[NotifyOptions] | None = None

    def address(self) -> str:
        """Return where to send to."""
        raise NotImplementedError(type(self).__name__)

    def headers(self) -> Mapping[str, str]:
        """Return headers besides those of the options."""
        return {}

    def body(self, context: TaskContext) -> Mapping[str, Any] | Payload | None:
        """Return the message: a text as it is, anything else as JSON."""
        raise NotImplementedError(type(self).__name__)

    def form(self, context: TaskContext) -> Mapping[str, str] | None:
        """Return the fields, where the message is sent as a form."""
        return None

    def run(self, context: TaskContext) -> Mapping[str, Any] | None:
        options = self.options or NotifyOptions()
        fields = self.form(context)
        content: Mapping[str, Any]
        if fields is not None:
            headers, content = {}, {"data": dict(fields)}
        else:
            body = self.body(context)
            text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            headers, content = {"Content-Type": "application/json"}, {"content": text.encode()}
        headers = {**headers, **self.headers(), **(options.headers or {})}
        outgoing = Outgoing("POST", self.address(), headers=headers, body=content)
        with exchange(outgoing, options, context) as response:
            response.read()
            context.log.debug(f"answer {response.status_code}: {response.text[:500]}")
        return self.answer(response.status_code, response.text)

    def answer(self, status: int, text: str) -> Mapping[str, Any] | None:
        """Return the outputs that the answer makes."""
        return None


class Webhook(Notify):
    """Sends a payload to a URL."""

    url: Dynamic[Text]
    payload: Dynamic[Payload] | None = None

    def address(self) -> str:
        return self.url

    def body(self, context: TaskContext) -> Mapping[str, Any] | Payload | None:
        return self.payload if self.payload is not None else self.without_payload(context)

    def without_payload(self, context: TaskContext) -> Mapping[str, Any]:
        """Return what is sent where the flow gives no payload."""
        raise TaskMisconfigured("there is no `payload`", hint="give the message to send")


class OfExecution(RunnableSpec):
    """What all tasks have that tell about an execution; by default about their own."""

    execution_id: Dynamic[Text] | None = None
    custom_fields: Dynamic[dict[str, Any]] | None = None
    custom_message: Dynamic[Text] | None = None

    def summary(self, context: TaskContext) -> Summary:
        """Return what there is to tell."""
        fields = self.custom_fields or {}
        return summary_of(self.execution_id, context, fields, self.custom_message)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not given."""
    return {name: value for name, value in values.items() if value is not None}
