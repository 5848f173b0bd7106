"""Mail: by SMTP (email.*), and by SendGrid's API (sendgrid.*)."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.execution_summary import Summary
from kestra_dagster.tasks.notify import Notify, OfExecution

if TYPE_CHECKING:
    import smtplib
    import ssl

_PLAIN = "Please view this email in a modern email client"


class Attachment(Part):
    """A stored file that goes with a mail."""

    uri: Text
    name: Text
    content_type: Text = "application/octet-stream"


class MailSend(RunnableSpec):
    """Send a mail by an SMTP server."""

    host: Dynamic[Text] | None = None
    port: Dynamic[int] | None = None
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    access_token: Dynamic[Text] | None = None
    transport_strategy: Dynamic[Literal["SMTP", "SMTPS", "SMTP_TLS", "SMTP_OAUTH2"]] = "SMTPS"
    session_timeout: Dynamic[int] = 10_000
    """Milliseconds to wait for the server."""
    verify_server_identity: Dynamic[bool] = True
    trusted_hosts: Dynamic[list[Text]] | None = None
    from_: Dynamic[Text] | None = Field(default=None, alias="from")
    to: Dynamic[Text | list[Text]] | None = None
    cc: Dynamic[Text | list[Text]] | None = None
    bcc: Dynamic[Text | list[Text]] | None = None
    reply_to: Dynamic[Text] | None = None
    subject: Dynamic[Text] | None = None
    html_text_content: Dynamic[Text] | None = None
    plain_text_content: Dynamic[Text] | None = None
    attachments: Dynamic[list[Attachment]] | None = None
    embedded_images: Dynamic[list[Attachment]] | None = None

    def run(self, context: TaskContext) -> None:
        message = self.message(context)
        people = [
            address
            for one in (self.to, self.cc, self.bcc)
            for _, address in getaddresses(_people(one))
        ]
        if not people:
            raise TaskMisconfigured("there is nobody to send to", hint="give an address in `to`")
        self._send(message, people, context)
        context.log.info(f"sent to {', '.join(people)}")

    def contents(self, context: TaskContext) -> tuple[str, str | None]:
        """Return the plain text, and the text as HTML if there is one."""
        return self.plain_text_content or _PLAIN, self.html_text_content

    def title(self, context: TaskContext) -> str | None:
        """Return the subject."""
        return self.subject

    def message(self, context: TaskContext) -> EmailMessage:
        """Return the mail with all that goes with it."""
        plain, rich = self.contents(context)
        if self.plain_text_content is None and rich is None and plain == _PLAIN:
            plain = ""
        message = EmailMessage()
        try:
            message["From"] = self.from_ or self.username or ""
            for name, people in (("To", self.to), ("Cc", self.cc)):
                if people:
                    message[name] = ", ".join(_people(people))
            if self.reply_to:
                message["Reply-To"] = self.reply_to
            message["Subject"] = " ".join((self.title(context) or "").split())
        except ValueError as error:
            raise TaskMisconfigured(f"an address or the subject is malformed: {error}") from error
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = make_msgid(domain="kestra-dagster")
        message.set_content(plain)
        if rich is not None:
            message.add_alternative(rich, subtype="html")
            body = message.get_body(("html",))
            for image in self.embedded_images or []:
                data, main, sub = _read(image, context)
                assert isinstance(body, EmailMessage)
                body.add_related(data, main, sub, cid=f"<{image.name}>", filename=image.name)
        for one in self.attachments or []:
            data, main, sub = _read(one, context)
            message.add_attachment(data, main, sub, filename=one.name)
        return message

    def _send(self, message: EmailMessage, people: Sequence[str], context: TaskContext) -> None:
        import smtplib

        host = self.host or "localhost"
        secure = self.transport_strategy == "SMTPS"
        port = self.port or (465 if secure else 587 if self.username else 25)
        where = f"the mail server `{host}:{port}`"
        seconds = self.session_timeout / 1000
        context.cancel.check()
        try:
            if secure:
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    host, port, timeout=seconds, context=self._tls()
                )
            else:
                server = smtplib.SMTP(host, port, timeout=seconds)
            forget = context.cancel.on_cancel(server.close)
            try:
                self._greet(server)
                refused = server.send_message(message, self.from_ or self.username, list(people))
            finally:
                forget()
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
        except smtplib.SMTPAuthenticationError as error:
            raise TaskFailed(
                f"{where} refuses the login: {_said(error.smtp_error)}",
                hint="check `username` and `password`",
            ) from None
        except smtplib.SMTPResponseException as error:
            raise TaskFailed(
                f"{where} refuses: {error.smtp_code} {_said(error.smtp_error)}"
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            told = "; ".join(f"{one}: {_said(why[1])}" for one, why in error.recipients.items())
            raise TaskFailed(f"{where} refuses every address: {told}") from None
        except (smtplib.SMTPException, OSError) as error:
            context.cancel.check()
            raise TaskFailed(
                f"{where} cannot be used: {error}",
                hint="`transportStrategy` is SMTPS (port 465) unless the flow says SMTP or "
                "SMTP_TLS (port 587)",
            ) from None
        for one, (code, why) in refused.items():
            context.log.warn(f"{where} refuses {one}: {code} {_said(why)}")

    def _greet(self, server: smtplib.SMTP) -> None:
        server.ehlo_or_helo_if_needed()
        if self.transport_strategy in ("SMTP_TLS", "SMTP_OAUTH2") or (
            self.transport_strategy == "SMTP" and server.has_extn("starttls")
        ):
            server.starttls(context=self._tls())
            server.ehlo()
        if self.access_token:
            login = f"user={self.username or ''}\x01auth=Bearer {self.access_token}\x01\x01"
            server.auth("XOAUTH2", lambda challenge=None: login)
        elif self.username:
            server.login(self.username, self.password or "")

    def _tls(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context()
        trusted = self.trusted_hosts or []
        if not self.verify_server_identity or (self.host or "") in trusted or "*" in trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class MailExecution(OfExecution, MailSend):
    """Send a mail about an execution by an SMTP server."""

    def contents(self, context: TaskContext) -> tuple[str, str | None]:
        found = self.summary(context)
        return self.plain_text_content or found.text(), self.html_text_content or page(found)

    def title(self, context: TaskContext) -> str | None:
        return self.subject or self.summary(context).title


class SendGridMailSend(Notify):
    """Send a mail by SendGrid."""

    sendgrid_api_key: Dynamic[Text]
    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[list[Text]]
    cc: Dynamic[list[Text]] | None = None
    subject: Dynamic[Text] | None = None
    html_content: Dynamic[Text] | None = None
    html_text_content: Dynamic[Text] | None = None
    text_content: Dynamic[Text] | None = None
    attachments: Dynamic[list[Attachment]] | None = None
    embedded_images: Dynamic[list[Attachment]] | None = None
    endpoint_override: Dynamic[Text] | None = None

    def address(self) -> str:
        base = (self.endpoint_override or "https://api.sendgrid.com").rstrip("/")
        return f"{base}/v3/mail/send"

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.sendgrid_api_key}"}

    def contents(self, context: TaskContext) -> tuple[str, str | None]:
        """Return the plain text, and the text as HTML if there is one."""
        return self.text_content or _PLAIN, self.html_content or self.html_text_content

    def title(self, context: TaskContext) -> str:
        """Return the subject."""
        return self.subject or ""

    def body(self, context: TaskContext) -> Mapping[str, Any]:
        plain, rich = self.contents(context)
        people: dict[str, Any] = {"to": [{"email": one} for one in self.to]}
        if self.cc:
            people["cc"] = [{"email": one} for one in self.cc]
        content = [{"type": "text/plain", "value": plain}]
        if rich is not None:
            content.append({"type": "text/html", "value": rich})
        files = [
            _attached(one, how, context)
            for how, several in (("attachment", self.attachments), ("inline", self.embedded_images))
            for one in several or []
        ]
        return {
            "personalizations": [people],
            "from": {"email": self.from_},
            "subject": self.title(context),
            "content": content,
            **({"attachments": files} if files else {}),
        }

    def answer(self, status: int, text: str) -> Mapping[str, Any]:
        return {"statusCode": status, "body": text}


class SendGridMailExecution(OfExecution, SendGridMailSend):
    """Send a mail about an execution by SendGrid."""

    def contents(self, context: TaskContext) -> tuple[str, str | None]:
        found = self.summary(context)
        return self.text_content or found.text(), self.html_content or page(found)

    def title(self, context: TaskContext) -> str:
        return self.subject or self.summary(context).title


def page(found: Summary) -> str:
    """Return a summary as HTML."""
    rows = "".join(
        f"<tr><td><b>{html.escape(name)}</b></td><td>{html.escape(value)}</td></tr>"
        for name, value in found.facts.items()
    )
    title, own = html.escape(found.title), html.escape(found.message or "")
    if found.link:
        title = f'<a href="{html.escape(found.link)}">{title}</a>'
    head = f'<h2 style="color:{found.color}">{title}</h2>'
    return f"{head}{f'<p>{own}</p>' if own else ''}<table cellpadding='4'>{rows}</table>"


def _people(given: str | Sequence[str] | None) -> list[str]:
    """Return addresses one by one; `;` stands between them."""
    texts = [given] if isinstance(given, str) else given or []
    return [one.strip() for text in texts for one in text.split(";") if one.strip()]


def _read(one: Attachment, context: TaskContext) -> tuple[bytes, str, str]:
    with context.storage.open(one.uri) as file:
        data = file.read()
    main, _, sub = one.content_type.partition("/")
    return data, main or "application", sub or "octet-stream"


def _attached(one: Attachment, how: str, context: TaskContext) -> dict[str, str]:
    data, main, sub = _read(one, context)
    content = base64.b64encode(data).decode()
    return {
        "content": content,
        "filename": one.name,
        "type": f"{main}/{sub}",
        "disposition": how,
        **({"content_id": one.name} if how == "inline" else {}),
    }


def _said(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
