"""Notifications that raise alerts: Opsgenie, PagerDuty, Zenduty, Squadcast and Sentry."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.notify import Notify, OfExecution, Payload, Webhook, present


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
        return present(given)


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
        return {**present(given), "payload": event}


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
        return present(given)


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
        return present(given)


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
        return present(given)
