"""Notifications to channels of teams: Slack, Discord, Teams and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.notify import OfExecution, Webhook, present


class IncomingWebhook(Webhook):
    """Send a payload to an incoming webhook."""


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
        return {"text": text, "attachments": [attachment], **present(given)}


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
        return present(
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
        return present({**given, "embeds": embeds or None})


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
            self.content, [present(own), *(one.shown() for one in self.embed_list or [])]
        )


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
            "sections": [present(section)],
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
        return {"text": self.summary(context).text("**"), **present(given)}


class ZulipExecution(OfExecution, Webhook):
    """Tell a Zulip stream about an execution."""

    channel: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        return {"text": self.summary(context).text("*"), **present({"channel": self.channel})}
