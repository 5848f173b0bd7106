"""Notifications to people: Telegram, WhatsApp, LINE, X and Twilio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.notify import Notify, OfExecution, Webhook, present


class TelegramSend(Notify):
    """Send a message to a Telegram chat."""

    token: Dynamic[Text]
    channel: Dynamic[Text]
    payload: Dynamic[Text] | None = None
    parse_mode: Dynamic[Text] | None = None
    endpoint_override: Dynamic[Text] | None = None

    def address(self) -> str:
        base = (self.endpoint_override or "https://api.telegram.org").rstrip("/")
        return f"{base}/bot{self.token}/sendMessage"

    def text(self, context: TaskContext) -> str:
        """Return the text of the message."""
        if self.payload is None:
            raise TaskMisconfigured("there is no `payload`", hint="give the text to send")
        return self.payload

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        given = {"chat_id": self.channel, "text": self.text(context)}
        return present({**given, "parse_mode": self.parse_mode})


class TelegramExecution(OfExecution, TelegramSend):
    """Tell a Telegram chat about an execution."""

    def text(self, context: TaskContext) -> str:
        return self.summary(context).text()


class WhatsAppIncomingWebhook(Webhook):
    """Send a payload to WhatsApp's API."""

    recipient_ids: Dynamic[list[Text]] | None = None


class WhatsAppExecution(OfExecution, WhatsAppIncomingWebhook):
    """Tell people on WhatsApp about an execution."""

    profile_name: Dynamic[Text] | None = None
    whats_app_ids: Dynamic[list[Text]] | None = None
    recipient_id: Dynamic[Text] | None = None
    from_: Dynamic[Text] | None = Field(default=None, alias="from")
    message_id: Dynamic[Text] | None = None
    text_body: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.text_body or self.summary(context).text("*")
        people = [
            {"profile": {"name": self.profile_name or "Kestra"}, "wa_id": one}
            for one in self.whats_app_ids or self.recipient_ids or []
        ]
        message = {"from": self.from_, "id": self.message_id, "text": {"body": found}}
        own = {"contacts": people, "messages": [{**present(message), "type": "text"}]}
        return present({**own, "recipient_id": self.recipient_id})


class LineExecution(OfExecution, Webhook):
    """Tell a LINE chat about an execution."""

    channel_access_token: Dynamic[Text] | None = None
    message: Dynamic[Text] | None = None

    def headers(self) -> Mapping[str, str]:
        token = self.channel_access_token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        text = self.message or self.summary(context).text()
        return {"messages": [{"type": "text", "text": text}]}


class XExecution(OfExecution, Webhook):
    """Post about an execution on X."""

    url: Dynamic[Text] = "https://api.x.com/2/tweets"
    bearer_token: Dynamic[Text] | None = None

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.bearer_token}"} if self.bearer_token else {}

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        return {"text": self.summary(context).text()[:280]}


class TwilioAlert(Webhook):
    """Raise an alert by Twilio."""

    account_sid: Dynamic[Text] = Field(alias="accountSID")
    auth_token: Dynamic[Text]

    def headers(self) -> Mapping[str, str]:
        import base64

        pair = f"{self.account_sid}:{self.auth_token}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def form(self, context: TaskContext) -> Mapping[str, str]:
        body = self.body(context)
        if isinstance(body, str):
            try:
                body = json.loads(body)
            except ValueError as error:
                raise TaskMisconfigured(f"`payload` is not JSON: {error}") from error
        if not isinstance(body, Mapping):
            raise TaskMisconfigured("`payload` is not a map")
        return {str(key): _field(value) for key, value in body.items()}


class TwilioExecution(OfExecution, TwilioAlert):
    """Raise an alert by Twilio about an execution."""

    body_text: Dynamic[Text] | None = Field(default=None, alias="body")
    identity: Dynamic[Text] | None = None
    tag: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        text = self.body_text or self.summary(context).text()
        return present({"Body": text, "Identity": self.identity, "Tag": self.tag})


def _field(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
