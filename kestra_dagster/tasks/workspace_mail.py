"""Gmail by its API: messages listed, read and sent, as a user who has allowed it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from email.message import EmailMessage
from mimetypes import guess_type
from typing import Any

from pydantic import Field, PrivateAttr

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, uri_name
from kestra_dagster.runtime.working_files import inside
from kestra_dagster.tasks.logins import access_token, bearer
from kestra_dagster.tasks.rest import Rest, part

BASE = "https://gmail.googleapis.com/gmail/v1/users/me"
LOGIN = "https://oauth2.googleapis.com/token"


class Gmail(Rest):
    """What all tasks of Gmail have."""

    client_id: Dynamic[Text]
    client_secret: Dynamic[Text]
    refresh_token: Dynamic[Text]
    access_token: Dynamic[Text] | None = None
    scopes: Dynamic[list[Text]] | None = None
    read_timeout: Dynamic[int] = 120
    _token: list[str] = PrivateAttr(default_factory=list)

    def root(self) -> str:
        return BASE

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return bearer(self._token[0]) if self._token else {}

    def login(self, context: TaskContext) -> None:
        """Fetch an access token, unless one is given."""
        if self.access_token:
            self._token.append(self.access_token)
            return
        form = {
            "grant_type": "refresh_token",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
        }
        if self.scopes:
            form["scope"] = " ".join(self.scopes)
        self._token.append(access_token(self, context, LOGIN, form))


class Send(Gmail):
    """Send a mail."""

    to: Dynamic[list[Text] | Text] | None = None
    cc: Dynamic[list[Text] | Text] | None = None
    bcc: Dynamic[list[Text] | Text] | None = None
    from_: Dynamic[Text] | None = Field(default=None, alias="from")
    subject: Dynamic[Text] = ""
    text_body: Dynamic[Text] | None = None
    html_body: Dynamic[Text] | None = None
    attachments: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.login(context)
        raw = urlsafe_b64encode(self._mail(context).as_bytes()).decode()
        sent = self.call(context, "POST", "/messages/send", json={"raw": raw})
        context.log.info(f"Email sent successfully with message ID: {sent['id']}")
        return {"messageId": sent["id"], "threadId": sent.get("threadId")}

    def _mail(self, context: TaskContext) -> EmailMessage:
        mail = EmailMessage()
        for name, given in (("To", self.to), ("Cc", self.cc), ("Bcc", self.bcc)):
            if given:
                mail[name] = given if isinstance(given, str) else ", ".join(given)
        if self.from_:
            mail["From"] = self.from_
        mail["Subject"] = self.subject
        if self.html_body is None:
            mail.set_content(self.text_body or "")
        elif self.text_body is None:
            mail.set_content(self.html_body, subtype="html")
        else:
            mail.set_content(self.text_body)
            mail.add_alternative(self.html_body, subtype="html")
        for uri in self.attachments or ():
            if is_internal(uri):
                name = uri_name(uri)
                with context.storage.open(uri) as file:
                    data = file.read()
            else:
                path = inside(context.working_dir, uri)
                name, data = path.name, path.read_bytes()
            kind, _, subtype = (guess_type(name)[0] or "application/octet-stream").partition("/")
            mail.add_attachment(data, maintype=kind, subtype=subtype, filename=name)
        return mail


class List(Gmail):
    """List messages."""

    query: Dynamic[Text] | None = None
    label_ids: Dynamic[list[Text]] | None = None
    max_results: Dynamic[int] = 100
    include_spam_trash: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.login(context)
        asked = {
            "q": self.query or None,
            "labelIds": self.label_ids or None,
            "maxResults": min(self.max_results, 500),
            "includeSpamTrash": str(self.include_spam_trash).lower(),
        }
        found = self.call(context, "GET", "/messages", params=asked)
        messages = found.get("messages") or []
        context.log.info(f"Retrieved {len(messages)} messages")
        return {
            "messages": [{"id": one["id"], "threadId": one.get("threadId")} for one in messages],
            "resultSizeEstimate": found.get("resultSizeEstimate", 0),
            "nextPageToken": found.get("nextPageToken"),
        }


class Get(Gmail):
    """Read a message."""

    message_id: Dynamic[Text]
    format: Dynamic[Text] = "full"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.login(context)
        url = f"/messages/{part(self.message_id)}"
        found = self.call(context, "GET", url, params={"format": self.format.lower()})
        payload = found.get("payload") or {}
        headers = {one["name"]: one["value"] for one in payload.get("headers") or ()}
        return {
            "message": {
                "id": found["id"],
                "threadId": found.get("threadId"),
                "labelIds": found.get("labelIds") or [],
                "snippet": found.get("snippet"),
                "sizeEstimate": found.get("sizeEstimate"),
                "internalDate": found.get("internalDate"),
                "headers": headers,
                "subject": headers.get("Subject"),
                "from": headers.get("From"),
                "to": [one.strip() for one in headers.get("To", "").split(",") if one.strip()],
                "textPlain": _text(payload, "text/plain"),
                "textHtml": _text(payload, "text/html"),
            }
        }


def _text(payload: Mapping[str, Any], kind: str) -> str | None:
    """Return the first text of a kind, however deep it is."""
    data = (payload.get("body") or {}).get("data")
    if payload.get("mimeType") == kind and data:
        return urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode(errors="replace")
    found = (_text(each, kind) for each in payload.get("parts") or ())
    return next((one for one in found if one is not None), None)
