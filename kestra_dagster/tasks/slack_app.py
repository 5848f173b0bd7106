"""Slack by the token of an app (`slack.app.*`): channels, messages, files, people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.rest import Rest, camel, pages, without_none

BASE = "https://slack.com/api"
_SAID = {"is_im": "isInstantMessage", "is_mpim": "isMultiPersonInstantMessage"}


class SlackApp(Rest):
    """What all tasks of a Slack app have."""

    token: Dynamic[Text]

    def root(self) -> str:
        return BASE

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self, context: TaskContext, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method of Slack; raise TaskFailed with the reason if it says no."""
        form = {
            name: json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
            for name, value in without_none(body).items()
        }
        answer = self.call(context, "POST", f"/{method}", form=form)
        if not isinstance(answer, dict) or not answer.get("ok"):
            reason = answer.get("error") if isinstance(answer, dict) else str(answer)[:200]
            raise TaskFailed(f"Slack refuses `{method}`: {reason}", hint=_ADVICE.get(str(reason)))
        return answer


_ADVICE = {
    "not_in_channel": "invite the app into the channel",
    "channel_not_found": "give the id of the channel, and invite the app if it is private",
    "missing_scope": "add the scope to the app and install it again",
    "invalid_auth": "check `token`",
}


class Call(SlackApp):
    """A task that is one method of Slack, whose arguments are the properties in snake_case."""

    method: ClassVar[str]
    gives: ClassVar[str | None] = None
    """What of the answer the outputs are."""

    def run(self, context: TaskContext) -> Mapping[str, Any] | None:
        body = self.model_dump(exclude={"token", "options"}, exclude_none=True)
        answer = self.ask(context, self.method, body)
        return _told(answer[self.gives]) if self.gives else None


class Post(SlackApp):
    """Send a message to a channel."""

    channel: Dynamic[Text]
    message_text: Dynamic[Text] | None = None
    payload: Dynamic[Text | dict[str, Any]] | None = None
    timestamp: Dynamic[Text] | None = None
    username: Dynamic[Text] | None = None
    icon_url: Dynamic[Text] | None = None
    icon_emoji: Dynamic[Text] | None = None
    method: ClassVar[str] = "chat.postMessage"
    told: ClassVar[str] = "thread_ts"
    """What Slack calls the `timestamp`."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        answer = self.ask(context, self.method, self.message())
        return {"timestamp": answer.get("ts") or answer.get("message_ts")}

    def message(self) -> dict[str, Any]:
        """Return the message; what the payload says wins."""
        payload = self.payload or {}
        if isinstance(payload, str):
            try:
                payload = json.loads(payload)
            except ValueError as error:
                raise TaskMisconfigured(f"`payload` is not JSON: {error}") from error
        own = self.model_dump(exclude={"token", "options", "payload", "message_text", "timestamp"})
        found = {**own, self.told: self.timestamp, "text": self.message_text, **payload}
        if not found.get("text") and not found.get("blocks") and not found.get("attachments"):
            raise TaskMisconfigured("there is neither `messageText` nor `payload`")
        return found


class PostEphemeral(Post):
    """Send a message to a channel that only one person sees."""

    user: Dynamic[Text]
    method: ClassVar[str] = "chat.postEphemeral"


class Update(Post):
    """Change a message."""

    method: ClassVar[str] = "chat.update"
    told: ClassVar[str] = "ts"


class Delete(SlackApp):
    """Delete a message."""

    channel: Dynamic[Text]
    timestamp: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {"channel": self.channel, "ts": self.timestamp}
        return {"timestamp": self.ask(context, "chat.delete", body).get("ts")}


class Upload(SlackApp):
    """Upload a stored file, and share it in channels."""

    from_: Dynamic[Text] = Field(alias="from")
    filename: Dynamic[Text]
    channels: Dynamic[list[Text]] | None = None
    title: Dynamic[Text] | None = None
    alt_txt: Dynamic[Text] | None = None
    snippet_type: Dynamic[Text] | None = None
    timestamp: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with context.storage.open(self.from_) as file:
            data = file.read()
        about = {
            "filename": self.filename,
            "length": len(data),
            "alt_txt": self.alt_txt,
            "snippet_type": self.snippet_type,
        }
        place = self.ask(context, "files.getUploadURLExternal", about)
        self.send(context, "POST", place["upload_url"], content=data)
        done = {
            "files": [{"id": place["file_id"], "title": self.title or self.filename}],
            "channels": ",".join(self.channels) if self.channels else None,
            "thread_ts": self.timestamp,
        }
        found = self.ask(context, "files.completeUploadExternal", done)["files"][0]
        return _told(found)


class Create(Call):
    """Make a channel."""

    name: Dynamic[Text]
    is_private: Dynamic[bool] = False
    team_id: Dynamic[Text] | None = None
    method: ClassVar[str] = "conversations.create"
    gives: ClassVar[str | None] = "channel"


class InChannel(Call):
    """A task that does something in a channel."""

    channel: Dynamic[Text]


class Archive(InChannel):
    """Archive a channel."""

    method: ClassVar[str] = "conversations.archive"


class Unarchive(InChannel):
    """Take a channel out of the archive."""

    method: ClassVar[str] = "conversations.unarchive"


class Join(InChannel):
    """Join a channel."""

    method: ClassVar[str] = "conversations.join"
    gives: ClassVar[str | None] = "channel"


class Leave(InChannel):
    """Leave a channel."""

    method: ClassVar[str] = "conversations.leave"


class ChannelInfo(InChannel):
    """Fetch what is known about a channel."""

    method: ClassVar[str] = "conversations.info"
    gives: ClassVar[str | None] = "channel"


class SetTopic(InChannel):
    """Set the topic of a channel."""

    topic: Dynamic[Text]
    method: ClassVar[str] = "conversations.setTopic"
    gives: ClassVar[str | None] = "channel"


class SetPurpose(InChannel):
    """Set the purpose of a channel."""

    purpose: Dynamic[Text]
    method: ClassVar[str] = "conversations.setPurpose"


class Rename(InChannel):
    """Rename a channel."""

    name: Dynamic[Text]
    method: ClassVar[str] = "conversations.rename"
    gives: ClassVar[str | None] = "channel"


class Kick(InChannel):
    """Remove somebody from a channel."""

    user: Dynamic[Text]
    method: ClassVar[str] = "conversations.kick"


class Invite(SlackApp):
    """Invite people into a channel."""

    channel: Dynamic[Text]
    users: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {"channel": self.channel, "users": ",".join(self.users)}
        return _told(self.ask(context, "conversations.invite", body)["channel"])


class Pages(SlackApp):
    """A task that fetches all pages of a list."""

    fetch_type: Dynamic[FetchType] = "FETCH"
    limit: Dynamic[int] | None = None
    method: ClassVar[str]
    holds: ClassVar[str]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        own = self.model_dump(exclude={"token", "options", "fetch_type"}, exclude_none=True)

        def fetch(cursor: Any) -> tuple[list[Any], Any]:
            answer = self.ask(context, self.method, {**own, "cursor": cursor})
            mark = (answer.get("response_metadata") or {}).get("next_cursor")
            items = answer.get(self.holds) or []
            return [_told(one) if isinstance(one, dict) else one for one in items], mark or None

        return fetched(pages(fetch), self.fetch_type, context)


class ListChannels(Pages):
    """List the channels."""

    exclude_archived: Dynamic[bool] | None = None
    types: Dynamic[Text] | None = None
    team_id: Dynamic[Text] | None = None
    method: ClassVar[str] = "conversations.list"
    holds: ClassVar[str] = "channels"


class Members(Pages):
    """List the members of a channel."""

    channel: Dynamic[Text]
    method: ClassVar[str] = "conversations.members"
    holds: ClassVar[str] = "members"


class History(Pages):
    """List the messages of a channel."""

    channel: Dynamic[Text]
    latest: Dynamic[Text] | None = None
    oldest: Dynamic[Text] | None = None
    inclusive: Dynamic[bool] | None = None
    method: ClassVar[str] = "conversations.history"
    holds: ClassVar[str] = "messages"


class ListUsers(Pages):
    """List the people."""

    team_id: Dynamic[Text] | None = None
    method: ClassVar[str] = "users.list"
    holds: ClassVar[str] = "members"


class UserInfo(Call):
    """Fetch what is known about somebody."""

    user: Dynamic[Text]
    method: ClassVar[str] = "users.info"
    gives: ClassVar[str | None] = "user"


class LookupByEmail(Call):
    """Find somebody by the mail address."""

    email: Dynamic[Text]
    method: ClassVar[str] = "users.lookupByEmail"
    gives: ClassVar[str | None] = "user"


class Add(InChannel):
    """Add a reaction to a message."""

    name: Dynamic[Text]
    timestamp: Dynamic[Text]
    method: ClassVar[str] = "reactions.add"


class Remove(InChannel):
    """Remove a reaction from a message."""

    name: Dynamic[Text]
    timestamp: Dynamic[Text]
    method: ClassVar[str] = "reactions.remove"


def _told(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a thing of Slack's in the words of outputs."""
    return {_SAID.get(name, to_camel(name)): camel(value) for name, value in item.items()}
