"""Mails of a mailbox: pymap's server of IMAP, and Twisted's of POP3, over TLS."""

from __future__ import annotations

import imaplib
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.mail_received import _mail
from kestra_dagster.tasks.polling import Poll, polling_type
from tests.tasks.servers import certificate, free_port, until_open

# With its passwords hashed once: half a million rounds at each login are most of the time.
PYMAP = """
from pymap.main import main
from pysasl.hashing import BuiltinHash
BuiltinHash.__init__.__kwdefaults__["rounds"] = 1
main()
"""
ME = {"host": "localhost", "username": "me", "password": "p w"}


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    yield started
    for one in started:
        one.kill()
        one.wait()


def trigger(name: str, **properties: Any) -> Poll:
    kind = polling_type(f"io.kestra.plugin.email.{name}")
    assert kind is not None
    return kind.model_validate({**ME, **properties}, context=RUN)


def mail(subject: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = subject, "Ann <ann@a.example>", "me@a.example, b@c"
    made["Date"], made["Message-ID"] = "Tue, 02 Jan 2024 03:04:05 +0100", "<1@a.example>"
    made.set_content("plain\n")
    made.add_alternative("<b>rich</b>\n", subtype="html")
    made.add_attachment(b"a,b\n", "text", "csv", filename="ä.csv")
    return made


def sent(found: Any) -> list[str]:
    return [one["subject"] for one in found.outputs["emails"]]


@pytest.mark.whole
def test_mails_of_imap(context, programs) -> None:
    port = free_port()
    server = [sys.executable, "-c", PYMAP, "--host", "127.0.0.1", "--port", str(port), "--no-tls"]
    user = ["dict", "--demo-user", ME["username"], "--demo-password", ME["password"]]
    programs.append(subprocess.Popen([*server, *user], stderr=subprocess.DEVNULL))
    until_open(port, programs[0])
    box = imaplib.IMAP4("localhost", port)
    box.login(ME["username"], ME["password"])
    box.create('"B&APY-se &- co"')

    def put(subject: str) -> None:
        when = '"03-Jan-2024 00:00:00 +0000"'
        box.append('"B&APY-se &- co"', "", when, mail(subject).as_bytes())

    put("old")
    look = trigger("MailReceivedTrigger", port=port, ssl=False, folder="Böse & co")
    first = look.poll(context, {})
    assert first.outputs is None
    assert look.poll(context, first.memory).outputs is None
    put("Hellö")
    found = look.poll(context, first.memory)
    assert found.outputs is not None
    assert (found.outputs["total"], found.outputs["emails"]) == (1, [found.outputs["latestEmail"]])
    [file] = found.outputs["latestEmail"].pop("attachments")
    assert (file["filename"], file["size"], file["contentType"][:8]) == ("ä.csv", 4, "text/csv")
    assert found.outputs["latestEmail"] == {
        "subject": "Hellö",
        "from": "ann@a.example",
        "to": ["me@a.example", "b@c"],
        "cc": [],
        "bcc": [],
        "date": "2024-01-03T00:00:00+00:00",
        "body": "plain\r\n<b>rich</b>\r\n",
        "messageId": "<1@a.example>",
    }
    for number in range(12):
        put(str(number))
    more = look.poll(context, found.memory)
    assert sent(more) == [str(number) for number in range(10)]
    each = trigger("RealTimeTrigger", port=port, ssl=False, folder="Böse & co")
    last = each.poll(context, more.memory)
    assert [one["subject"] for one in last.each()] == ["10", "11"]
    # Another life of the mailbox: its numbers tell nothing of what was seen.
    assert look.poll(context, {**more.memory, "life": "other"}).memory == last.memory
    box.logout()
    with pytest.raises(TaskFailed, match="there is no folder `none`"):
        look.model_copy(update={"folder": "none"}).poll(context, {})


@pytest.mark.whole
def test_mails_of_pop3_over_tls(context, programs, tmp_path: Path, monkeypatch) -> None:
    pem = certificate(tmp_path)
    port = free_port()
    program = str(Path(__file__).with_name("pop3_server.py"))
    user = [ME["username"], ME["password"]]
    programs.append(subprocess.Popen([sys.executable, program, str(port), pem, tmp_path, *user]))
    until_open(port, programs[0])

    def put(subject: str) -> None:
        name = f"{len(list(tmp_path.glob('*.eml')))}.eml"
        (tmp_path / name).write_bytes(mail(subject).as_bytes())

    put("old")
    look = trigger("MailReceivedTrigger", protocol="POP3", port=port)
    with pytest.raises(TaskFailed, match="CERTIFICATE_VERIFY_FAILED"):
        look.poll(context, {})
    trusting = look.model_copy(update={"trust_all_certificates": True})
    first = trusting.poll(context, {})
    assert first.outputs is None
    put("new")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    found = look.poll(context, first.memory)
    assert sent(found) == ["new"]
    assert found.outputs["latestEmail"]["date"] == "2024-01-02T03:04:05+01:00"
    assert look.poll(context, found.memory).outputs is None
    with pytest.raises(TaskFailed, match="refuses") as failed:
        look.model_copy(update={"password": "a secret"}).poll(context, {})
    assert "a secret" not in str(failed.value)
    with pytest.raises(TaskFailed, match=r"localhost:9` cannot be used"):
        look.model_copy(update={"port": 9}).poll(context, {})


def test_a_mail_of_no_known_form_is_handed_over() -> None:
    odd = b"Subject: =?x?q?=\r\nContent-Type: text/plain; charset=none\r\nDate: never\r\n\r\nt\xff"
    found = _mail(odd, None)
    assert found["body"].startswith("t")
    assert found["from"] is None
