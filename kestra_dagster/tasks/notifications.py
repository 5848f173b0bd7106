"""Notifications of each service: what their requests look like."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.notify import Notify, OfExecution, Payload, Webhook


class IncomingWebhook(Webhook):
    """Send a payload to an incoming webhook."""


class WhatsAppIncomingWebhook(Webhook):
    """Send a payload to WhatsApp's API."""

    recipient_ids: Dynamic[list[Text]] | None = None


# Slack, and what understands its payloads


class SlackIncomingWebhook(Webhook):
    """Send a message to a Slack channel by its incoming webhook."""

    message_text: Dynamic[Text] | None = None

    def without_payload(self, context: TaskContext) -> Mapping[str, Any]:
        if self.message_text is None:
            raise TaskMisconfigured("there is neither `messageText` nor `payload`")
        return {"text": self.message_text}


class SlackExecution(OfExecution, SlackIncomingWebhook):
    """Tell a Slack channel about an execution."""

    channel: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    icon_url: Dynamic[Text] | None = None
    icon_emoji: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        text = f"<{found.link}|{found.title}>" if found.link else f"*{found.title}*"
        attachment = {
            "color": found.color,
            "fallback": found.title,
            "mrkdwn_in": ["text"],
            "text": "\n".join([*([found.message] if found.message else []), *found.lines("*")]),
        }
        given = {
            "channel": self.channel,
            "username": self.username,
            "icon_url": self.icon_url,
            "icon_emoji": self.icon_emoji,
        }
        return {"text": text, "attachments": [attachment], **_present(given)}


# Discord


class Embed(Part):
    """A block of a Discord message."""

    title: Text | None = None
    website_url: Text | None = None
    description: Text | None = None
    thumbnail: Text | None = None
    author_name: Text | None = None
    color: list[int] | None = None
    footer: Text | None = None

    def shown(self) -> dict[str, Any]:
        """Return it in Discord's words."""
        color = self.color
        return _present(
            {
                "title": self.title,
                "url": self.website_url,
                "description": self.description,
                "thumbnail": {"url": self.thumbnail} if self.thumbnail else None,
                "author": {"name": self.author_name} if self.author_name else None,
                "footer": {"text": self.footer} if self.footer else None,
                "color": (color[0] << 16) + (color[1] << 8) + color[2]
                if color and len(color) > 2
                else None,
            }
        )


class DiscordIncomingWebhook(Webhook):
    """Send a message to a Discord channel by its webhook."""

    content: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    avatar_url: Dynamic[Text] | None = None
    embed_list: Dynamic[list[Embed]] | None = None

    def without_payload(self, context: TaskContext) -> Mapping[str, Any]:
        if self.content is None and not self.embed_list:
            raise TaskMisconfigured("there is neither `payload` nor `content`")
        return self.message(self.content, [embed.shown() for embed in self.embed_list or []])

    def message(self, content: str | None, embeds: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a message in Discord's words."""
        given = {"username": self.username, "avatar_url": self.avatar_url, "content": content}
        return _present({**given, "embeds": embeds or None})


class DiscordExecution(OfExecution, DiscordIncomingWebhook):
    """Tell a Discord channel about an execution."""

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        facts = [{"name": name, "value": value} for name, value in found.facts.items()]
        own: dict[str, Any] = {
            "title": found.title,
            "url": found.link,
            "description": found.message,
            "color": int(found.color[1:], 16),
            "fields": [{**fact, "inline": True} for fact in facts],
        }
        return self.message(
            self.content, [_present(own), *(one.shown() for one in self.embed_list or [])]
        )


# Services that take a plain text in one property


class TeamsExecution(OfExecution, Webhook):
    """Tell a Teams channel about an execution."""

    theme_color: Dynamic[Text] | None = None
    activity_title: Dynamic[Text] | None = None
    activity_subtitle: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        section = {
            "activityTitle": self.activity_title or found.title,
            "activitySubtitle": self.activity_subtitle,
            "text": found.message,
            "facts": [{"name": name, "value": value} for name, value in found.facts.items()],
            "markdown": True,
        }
        card: dict[str, Any] = {
            "@type": "MessageCard",
            "@context": "http://schema.org/extensions",
            "themeColor": self.theme_color or found.color[1:],
            "summary": found.title,
            "sections": [_present(section)],
        }
        if found.link:
            target = [{"os": "default", "uri": found.link}]
            card["potentialAction"] = [
                {"@type": "OpenUri", "name": "See the execution", "targets": target}
            ]
        return card


class GoogleChatExecution(OfExecution, Webhook):
    """Tell a Google Chat space about an execution."""

    text: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        return {"text": self.text or self.summary(context).text("*")}


class TextExecution(OfExecution, Webhook):
    """Tell about an execution by a message of one text."""

    channel: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    icon_url: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        given = {"channel": self.channel, "username": self.username, "icon_url": self.icon_url}
        return {"text": self.summary(context).text("**"), **_present(given)}


class ZulipExecution(OfExecution, Webhook):
    """Tell a Zulip stream about an execution."""

    channel: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        return {"text": self.summary(context).text("*"), **_present({"channel": self.channel})}


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
        return _present({**given, "parse_mode": self.parse_mode})


class TelegramExecution(OfExecution, TelegramSend):
    """Tell a Telegram chat about an execution."""

    def text(self, context: TaskContext) -> str:
        return self.summary(context).text()


class WhatsAppExecution(OfExecution, WhatsAppIncomingWebhook):
    """Tell people on WhatsApp about an execution."""

    profile_name: Dynamic[Text] | None = None
    whatsapp_ids: Dynamic[list[Text]] | None = None
    from_: Dynamic[Text] | None = Field(default=None, alias="from")
    message_id: Dynamic[Text] | None = None
    text_body: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.text_body or self.summary(context).text("*")
        people = [
            {"profile": {"name": self.profile_name or "Kestra"}, "wa_id": one}
            for one in self.whatsapp_ids or self.recipient_ids or []
        ]
        message = {"from": self.from_, "id": self.message_id, "text": {"body": found}}
        return {"contacts": people, "messages": [{**_present(message), "type": "text"}]}


# Alerting


class AlertWebhook(Webhook):
    """Raise an alert by a payload."""


class OpsgenieAlert(Webhook):
    """Raise an alert in Opsgenie."""

    authorization_token: Dynamic[Text] | None = None

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": self.authorization_token} if self.authorization_token else {}


class OpsgenieExecution(OfExecution, OpsgenieAlert):
    """Raise an alert in Opsgenie about an execution."""

    message: Dynamic[Text] | None = None
    alias: Dynamic[Text] | None = None
    responders: Dynamic[dict[str, Text]] | None = None
    visible_to: Dynamic[dict[str, Text]] | None = None
    tags: Dynamic[list[Text]] | None = None
    priority: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        people = [{"id": id_, "type": kind} for id_, kind in (self.responders or {}).items()]
        seen = [{"id": id_, "type": kind} for id_, kind in (self.visible_to or {}).items()]
        given = {
            "message": (self.message or found.title)[:130],
            "alias": self.alias,
            "description": found.text(),
            "details": dict(found.facts),
            "responders": people or None,
            "visibleTo": seen or None,
            "tags": self.tags,
            "priority": self.priority,
        }
        return _present(given)


class PagerDutyAlert(Webhook):
    """Raise an alert in PagerDuty."""

    url: Dynamic[Text] = "https://events.pagerduty.com/v2/enqueue"


class PagerDutyExecution(OfExecution, PagerDutyAlert):
    """Raise an alert in PagerDuty about an execution."""

    routing_key: Dynamic[Text]
    event_action: Dynamic[Text]
    deduplication_key: Dynamic[Text] | None = None
    payload_summary: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        event: dict[str, Any] = {
            "summary": (self.payload_summary or found.title)[:1024],
            "source": found.view.execution_id,
            "severity": "info" if found.good else "error",
            "timestamp": datetime.now(timezone.utc).isoformat(),
            "custom_details": dict(found.facts),
        }
        links = [{"href": found.link, "text": "The execution"}] if found.link else None
        given = {
            "routing_key": self.routing_key,
            "event_action": self.event_action,
            "dedup_key": self.deduplication_key,
            "links": links,
        }
        return {**_present(given), "payload": event}


class ZendutyExecution(OfExecution, Webhook):
    """Raise an alert in Zenduty about an execution."""

    integration_key: Dynamic[Text] | None = None
    alert_type: Dynamic[Text] | None = None
    message: Dynamic[Text] | None = None
    summary_text: Dynamic[Text] | None = Field(default=None, alias="summary")
    entity_id: Dynamic[Text] | None = None
    urls: Dynamic[list[Text]] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        urls = [*(self.urls or []), *([found.link] if found.link else [])]
        given = {
            "alert_type": self.alert_type or ("info" if found.good else "error"),
            "message": self.message or found.title,
            "summary": self.summary_text or found.text(),
            "entity_id": self.entity_id or found.view.execution_id,
            "payload": dict(found.facts),
            "urls": [{"link_url": url, "link_text": "The execution"} for url in urls] or None,
        }
        return _present(given)


class SquadcastExecution(OfExecution, Webhook):
    """Raise an incident in Squadcast about an execution."""

    message: Dynamic[Text] | None = None
    priority: Dynamic[Text] | None = None
    event_id: Dynamic[Text] | None = None
    status: Dynamic[Text] | None = None
    tags: Dynamic[dict[str, Text]] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        given = {
            "message": self.message or found.title,
            "description": found.text(),
            "priority": self.priority,
            "event_id": self.event_id or found.view.execution_id,
            "status": self.status or ("resolve" if found.good else "trigger"),
            "tags": self.tags,
        }
        return _present(given)


_DSN = re.compile(r"(?P<scheme>https?)://(?P<key>[^:@/]+)(?::[^@/]*)?@(?P<host>[^/]+)/(?P<id>\d+)")


class SentryAlert(Notify):
    """Send an event to Sentry."""

    dsn: Dynamic[Text]
    endpoint_type: Dynamic[Literal["ENVELOPE", "STORE"]] = "ENVELOPE"
    payload: Dynamic[Payload] | None = None

    def address(self) -> str:
        found = _DSN.fullmatch(self.dsn)
        if not found:
            return self.dsn
        where = f"{found['scheme']}://{found['host']}/api/{found['id']}"
        login = f"sentry_version=7&sentry_client=kestra-dagster&sentry_key={found['key']}"
        return f"{where}/{self.endpoint_type.lower()}/?{login}"

    def event(self, context: TaskContext) -> Mapping[str, Any] | str | list[Any]:
        """Return the event."""
        if self.payload is not None:
            return self.payload
        execution, flow = context.variables["execution"], context.variables["flow"]
        return {
            "timestamp": datetime.now(timezone.utc).isoformat(),
            "platform": "other",
            "level": "error",
            "message": {"message": f"Execution {execution['id']} failed"},
            "extra": {
                "Namespace": flow["namespace"],
                "Flow ID": flow["id"],
                "Execution ID": execution["id"],
            },
        }

    def body(self, context: TaskContext) -> str:
        event = self.event(context)
        text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        if self.endpoint_type == "STORE":
            return text
        head = {"event_id": uuid.uuid4().hex, "sent_at": datetime.now(timezone.utc).isoformat()}
        length = len(text.encode())
        item = {"type": "event", "length": length, "content_type": "application/json"}
        return f"{json.dumps(head)}\n{json.dumps(item)}\n{text}\n"


class SentryExecution(OfExecution, SentryAlert):
    """Send an event to Sentry about an execution."""

    event_id: Dynamic[Text] | None = None
    platform: Dynamic[Text] | None = None
    level: Dynamic[Text] | None = None
    transaction: Dynamic[Text] | None = None
    server_name: Dynamic[Text] | None = None
    extra: Dynamic[dict[str, Any]] | None = None
    errors: Dynamic[dict[str, Any]] | None = None

    def event(self, context: TaskContext) -> Mapping[str, Any]:
        found = self.summary(context)
        given = {
            "event_id": (self.event_id or uuid.uuid4().hex).replace("-", ""),
            "timestamp": datetime.now(timezone.utc).isoformat(),
            "platform": (self.platform or "other").lower(),
            "level": (self.level or ("info" if found.good else "error")).lower(),
            "transaction": self.transaction,
            "server_name": self.server_name,
            "message": {"message": found.title},
            "extra": {**found.facts, **(self.extra or {})},
            "errors": self.errors,
        }
        return _present(given)


# Phones and mail over HTTP


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
        return _present({"Body": text, "Identity": self.identity, "Tag": self.tag})


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not given."""
    return {name: value for name, value in values.items() if value is not None}


def _field(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
