"""Triggers of mails that come to a mailbox: `email.MailReceivedTrigger` and `RealTimeTrigger`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.polling import Found, Poll

if TYPE_CHECKING:
    import imaplib
    import poplib
    import ssl

AT_ONCE = 10
"""How many mails one look takes."""
_SECONDS = 30
_KEPT = 500
_PORTS = {("IMAP", True): 993, ("IMAP", False): 143, ("POP3", True): 995, ("POP3", False): 110}


class MailPoll(Poll):
    """Start the flow with the mails that came since the last look."""

    differences: ClassVar[Mapping[str, str]] = {
        "host": "a mail is new if it was not there at the last look, whatever its date, and is "
        f"handed over once; {AT_ONCE} at most at once, the others at the next look",
    }

    protocol: Dynamic[Literal["IMAP", "POP3"]] = "IMAP"
    host: Dynamic[Text]
    port: Dynamic[int] | None = None
    username: Dynamic[Text]
    password: Dynamic[Text]
    folder: Dynamic[Text] = "INBOX"
    ssl: Dynamic[bool] = True
    trust_all_certificates: Dynamic[bool] = False

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        look = self._imap if self.protocol == "IMAP" else self._pop3
        with self._told(context):
            mails, kept = look(context, memory)
        if not mails:
            return Found(None, kept)
        latest = max(mails, key=lambda mail: datetime.fromisoformat(mail["date"]))
        return Found({"latestEmail": latest, "total": len(mails), "emails": mails}, kept)

    def _imap(
        self, context: TaskContext, memory: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        import imaplib

        where = (self.host, self._port())
        if self.ssl:
            server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                *where, ssl_context=self._tls(), timeout=_SECONDS
            )
        else:
            server = imaplib.IMAP4(*where, timeout=_SECONDS)
        with _closing(server.shutdown, server.logout, context):
            server.login(self.username, self.password)
            state, said = server.select(_quoted(self.folder), readonly=True)
            if state != "OK":
                raise TaskFailed(f"there is no folder `{self.folder}`: {_text(said)}")
            life = _text(server.response("UIDVALIDITY")[1])
            # The numbers only grow, as long as the mailbox does not tell of a new life.
            before = memory.get("last") if memory.get("life") == life else None
            _, said = server.uid("SEARCH", f"UID {(before or 0) + 1}:*")
            numbers = sorted(int(number) for number in _text(said).split())
            if before is None:
                return [], {"life": life, "last": numbers[-1] if numbers else 0}
            # `*` is the last mail, even if that is not a new one.
            new = [number for number in numbers if number > before][:AT_ONCE]
            mails: list[dict[str, Any]] = []
            for number in new:
                context.cancel.check()
                _, parts = server.uid("FETCH", str(number), "(INTERNALDATE BODY.PEEK[])")
                mails += [
                    _mail(part[1], _internal_date(part[0]))
                    for part in parts
                    if isinstance(part, tuple)
                ]
            return mails, {"life": life, "last": new[-1] if new else before}

    def _pop3(
        self, context: TaskContext, memory: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        import poplib

        where = (self.host, self._port())
        if self.ssl:
            server: poplib.POP3 = poplib.POP3_SSL(*where, timeout=_SECONDS, context=self._tls())
        else:
            server = poplib.POP3(*where, timeout=_SECONDS)
        with _closing(server.close, server.quit, context):
            server.user(self.username)
            server.pass_(self.password)
            pairs = [line.decode().split(" ", 1) for line in server.uidl()[1]]
            names = [name for _, name in pairs]
            if memory.get("known") is None:
                return [], {"known": names[-_KEPT:]}
            # They are in the order in which they came; those before a known one are old.
            known = set(memory["known"])
            last = max((at for at, name in enumerate(names) if name in known), default=-1)
            new = pairs[last + 1 :][:AT_ONCE]
            mails = []
            for number, _ in new:
                context.cancel.check()
                mails.append(_mail(b"\r\n".join(server.retr(int(number))[1]), None))
            return mails, {"known": names[: last + 1 + len(new)][-_KEPT:]}

    def _port(self) -> int:
        return self.port or _PORTS[self.protocol, self.ssl]

    def _tls(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context()
        if self.trust_all_certificates:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @contextmanager
    def _told(self, context: TaskContext) -> Iterator[None]:
        import imaplib
        import poplib

        where = f"the mailbox of `{self.host}:{self._port()}`"
        try:
            yield
        except (imaplib.IMAP4.error, poplib.error_proto) as error:
            raise TaskFailed(
                f"{where} refuses: {_text(error.args)}",
                hint="check `username`, `password` and `folder`",
            ) from None
        except OSError as error:
            context.cancel.check()
            raise TaskFailed(
                f"{where} cannot be used: {error}", hint="check `host`, `port` and `ssl`"
            ) from None


class MailRealtime(MailPoll):
    """Start the flow for each mail that came since the last look."""

    differences: ClassVar[Mapping[str, str]] = {
        **MailPoll.differences,
        "type": "mails are looked for every `interval`, with IMAP too",
    }

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        found = super().poll(context, memory)
        if found.outputs is None:
            return found
        return replace(found, outputs=None, messages=found.outputs["emails"])


@contextmanager
def _closing(
    close: Callable[[], Any], leave: Callable[[], Any], context: TaskContext
) -> Iterator[None]:
    """Leave the server in the end; close the connection when the look is cancelled."""

    def broken() -> None:
        with suppress(OSError):
            close()

    forget = context.cancel.on_cancel(broken)
    try:
        yield
    finally:
        forget()
        # What it says of the farewell changes nothing.
        with suppress(Exception):
            leave()
        broken()


def _mail(content: bytes, received: datetime | None) -> dict[str, Any]:
    """Return a mail as Kestra gives it; one that nobody can read is handed over as text."""
    try:
        mail = cast(EmailMessage, message_from_bytes(content, policy=policy.default))
        return _fields(mail, received)
    except Exception:  # headers that are none make the library stumble in many ways
        mail = EmailMessage()
        mail.set_content(content.decode(errors="replace"))
        return _fields(mail, received)


def _fields(mail: EmailMessage, received: datetime | None) -> dict[str, Any]:
    sender = _addresses(mail, "From")
    texts, attachments = [], []
    for part in mail.walk():
        if part.is_multipart():
            continue
        name = part.get_filename()
        if name or part.get_content_disposition() == "attachment":
            size = len(cast(bytes, part.get_payload(decode=True)) or b"")
            kind = str(part.get("Content-Type", part.get_content_type()))
            attachments.append({"filename": name, "contentType": kind, "size": size})
        elif part.get_content_maintype() == "text":
            texts.append(_content(part))
    return {
        "subject": _header(mail, "Subject"),
        "from": sender[0] if sender else None,
        **{name: _addresses(mail, name) for name in ("to", "cc", "bcc")},
        "date": (received or _sent(mail)).isoformat(),
        "body": "".join(texts),
        "messageId": _header(mail, "Message-ID"),
        "attachments": attachments,
    }


def _content(part: EmailMessage) -> str:
    try:
        return part.get_content()
    except (LookupError, UnicodeError):
        return cast(bytes, part.get_payload(decode=True)).decode(errors="replace")


def _header(mail: EmailMessage, name: str) -> str | None:
    value = mail.get(name)
    return None if value is None else str(value)


def _addresses(mail: EmailMessage, name: str) -> list[str]:
    found = getaddresses([str(value) for value in mail.get_all(name, [])])
    return [address for _, address in found if address]


def _sent(mail: EmailMessage) -> datetime:
    try:
        sent = parsedate_to_datetime(str(mail["Date"]))
    except ValueError:
        return datetime.now(timezone.utc)
    return sent if sent.tzinfo else sent.replace(tzinfo=timezone.utc)


def _internal_date(said: bytes) -> datetime | None:
    found = re.search(rb'INTERNALDATE "([^"]+)"', said)
    if found is None:
        return None
    with suppress(ValueError):
        return datetime.strptime(found[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    return None


def _quoted(folder: str) -> str:
    """Write the name of a folder as IMAP does: quoted, what is not ASCII in its own UTF-7."""

    def written(found: re.Match[str]) -> str:
        if found[0] == "&":
            return "&-"
        coded = found[0].encode("utf-7").decode().removeprefix("+").removesuffix("-")
        return f"&{coded.replace('/', ',')}-"

    name = re.sub(r"&|[^\x20-\x7e]+", written, folder)
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(said: Sequence[Any]) -> str:
    return " ".join(
        one.decode(errors="replace") if isinstance(one, bytes) else str(one)
        for one in said
        if one is not None
    )
