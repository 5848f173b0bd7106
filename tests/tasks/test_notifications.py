"""Notifications: the requests that reach a server, and mails that reach a mail server."""

from __future__ import annotations

import base64
import socket
import sys
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.registry import default_registry

sys.path.insert(0, str(Path(__file__).parent))
from http_recorder import Recorder, recorder

PLUGIN = "io.kestra.plugin."


@pytest.fixture(scope="module")
def shared():
    with recorder() as found:
        yield found


@pytest.fixture
def server(shared):
    shared.seen.clear()
    shared.answers = [(200, "ok")]
    return shared


@pytest.fixture
def run(context):
    context.executions.rows = [
        ("execution-1", "company.team", "flow-1", "RUNNING"),
        ("bad-1", "company.team", "other", "FAILED"),
    ]

    def run(name: str, **properties: Any) -> Any:
        registry = default_registry()
        spec = registry.spec(registry.canonical(PLUGIN + name))
        assert spec is not None, name
        return context.run(spec, properties)

    return run


WEBHOOKS = [
    "slack.notifications.SlackIncomingWebhook",
    "slack.SlackIncomingWebhook",
    "notifications.slack.SlackIncomingWebhook",
    "notifications.discord.DiscordIncomingWebhook",
    "notifications.teams.TeamsIncomingWebhook",
    "notifications.google.GoogleChatIncomingWebhook",
    "notifications.zulip.ZulipIncomingWebhook",
    "notifications.whatsapp.WhatsAppIncomingWebhook",
    "notifications.opsgenie.OpsgenieAlert",
    "notifications.zenduty.ZendutyAlert",
    "notifications.squadcast.SquadcastIncomingWebhook",
    "pagerduty.PagerDutyAlert",
]


@pytest.mark.parametrize("name", WEBHOOKS)
def test_a_payload_goes_out_as_it_is(run, server: Recorder, name):
    payload = '{"text": "flow {{ flow.id }} é"}'
    options = {"headers": {"X-One": "{{ flow.id }}"}, "readTimeout": "PT5S"}
    run(name, url=server.url + "/hook", payload=payload, options=options)
    assert server.last.json == {"text": "flow flow-1 é"}
    assert server.last.path == "/hook"
    assert server.last.headers["Content-Type"] == "application/json"
    assert server.last.headers["X-One"] == "flow-1"


def test_a_refusal_fails_the_task(run, server):
    server.answers = [(400, "invalid_payload")]
    with pytest.raises(TaskFailed, match="400"):
        run("slack.notifications.SlackIncomingWebhook", url=server.url, payload="{}")


def test_slack_takes_a_text(run, server):
    run("slack.notifications.SlackIncomingWebhook", url=server.url, messageText='a "b"\nc')
    assert server.last.json == {"text": 'a "b"\nc'}
    with pytest.raises(TaskMisconfigured, match="neither `messageText` nor `payload`"):
        run("slack.notifications.SlackIncomingWebhook", url=server.url)


def test_discord_has_embeds(run, server):
    embed = {"title": "t", "websiteUrl": "http://x", "color": [1, 2, 3], "footer": "f"}
    run("discord.DiscordIncomingWebhook", url=server.url, content="c", embedList=[embed])
    shown = {"title": "t", "url": "http://x", "color": 66051, "footer": {"text": "f"}}
    assert server.last.json == {"content": "c", "embeds": [shown]}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("slack.notifications.SlackExecution", {"channel": "#c", "iconEmoji": ":x:"}),
        ("discord.DiscordExecution", {"username": "u", "avatarUrl": "http://a"}),
        ("microsoft365.teams.TeamsExecution", {"activityTitle": "t", "themeColor": "0076D7"}),
        ("googleworkspace.chat.GoogleChatExecution", {}),
        ("zulip.ZulipExecution", {"channel": "c"}),
        ("mattermost.MattermostExecution", {}),
        ("meta.whatsapp.WhatsAppExecution", {"whatsAppIds": ["1"], "profileName": "p"}),
        ("notifications.whatsapp.WhatsAppExecution", {"recipientId": "1", "from": "2"}),
        ("opsgenie.OpsgenieExecution", {"authorizationToken": "k", "tags": ["t"]}),
        ("pagerduty.PagerDutyExecution", {"routingKey": "r", "eventAction": "trigger"}),
        ("zenduty.ZendutyExecution", {"alertType": "error"}),
        ("squadcast.SquadcastExecution", {"priority": "P1"}),
        ("line.LineExecution", {"channelAccessToken": "t"}),
        ("x.XExecution", {"bearerToken": "t"}),
    ],
)
def test_messages_about_an_execution(run, server, monkeypatch, name, more):
    monkeypatch.setenv("KESTRA_DAGSTER_URL", "https://ui.example")
    fields = {"executionId": "bad-1", "customFields": {"Team": "data"}, "customMessage": "look"}
    run(name, url=server.url, **fields, **more)
    text = server.last.text
    assert server.last.json
    assert "other" in text
    assert "FAILED" in text
    assert ("data" in text) == (name != "x.XExecution" or "data" in text)
    run(name, url=server.url, **more)  # its own, which runs
    assert "flow-1" in server.last.text


def test_slack_shows_what_failed(run, server, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_URL", "https://ui.example/")
    name = "notifications.slack.SlackExecution"
    run(name, url=server.url, executionId="bad-1", username="bot", customMessage="look")
    assert server.last.json == {
        "text": "<https://ui.example/runs/bad-1|company.team.other is FAILED>",
        "username": "bot",
        "attachments": [
            {
                "color": "#cc0000",
                "fallback": "company.team.other is FAILED",
                "mrkdwn_in": ["text"],
                "text": "look\n*Namespace:* company.team\n*Flow:* other\n*Execution:* bad-1\n"
                "*Status:* FAILED\n*Started:* 2026-01-02 03:04:05+00:00\n"
                '*Duration:* 1 min 1 s\n*Failed task:* load\n*Error:* it said "no"',
            }
        ],
    }


def test_telegram(run, server):
    given = {"token": "123:abc", "channel": "@c", "endpointOverride": server.url}
    run("notifications.telegram.TelegramSend", payload="hi", **given)
    assert server.last.path == "/bot123:abc/sendMessage"
    assert server.last.json == {"chat_id": "@c", "text": "hi"}
    run("telegram.TelegramExecution", executionId="bad-1", **given)
    assert "Failed task: load" in server.last.json["text"]


def test_sentry(run, server):
    run("sentry.SentryAlert", dsn=server.url, payload='{"level": "error"}')
    head, item, event, _ = server.last.text.split("\n")
    assert "event_id" in head
    assert '"length": 18' in item
    assert event == '{"level": "error"}'
    host = server.url.removeprefix("http://")
    run("sentry.SentryExecution", dsn=f"http://abc@{host}/7", endpointType="STORE")
    assert server.last.path.startswith("/api/7/store/?sentry_version=7&sentry_client=")
    assert server.last.path.endswith("sentry_key=abc")
    assert server.last.json["extra"]["Flow"] == "flow-1"


def test_twilio_sends_a_form(run, server):
    login = {"accountSID": "s", "authToken": "t", "url": server.url}
    run("notifications.twilio.TwilioAlert", payload='{"Body": "a b", "Tag": "x"}', **login)
    assert server.last.text == "Body=a+b&Tag=x"
    assert server.last.headers["Authorization"] == "Basic " + base64.b64encode(b"s:t").decode()


def test_sendgrid(run, server, context):
    server.answers = [(202, "")]
    stored = context.storage.put(b"a,b", "x.csv")
    outputs = run(
        "sendgrid.SendGridMailSend",
        endpointOverride=server.url,
        sendgridApiKey="key",
        to=["a@example.com"],
        subject="s",
        htmlTextContent="<b>x</b>",
        attachments=[{"uri": stored, "name": "x.csv", "contentType": "text/csv"}],
        **{"from": "me@example.com"},
    )
    assert outputs["statusCode"] == 202
    assert server.last.headers["Authorization"] == "Bearer key"
    assert server.last.json["attachments"][0]["content"] == base64.b64encode(b"a,b").decode()
    assert server.last.json["personalizations"] == [{"to": [{"email": "a@example.com"}]}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope, message_from_bytes(envelope.content, policy=default)))
        return "250 OK"


@pytest.fixture
def mailbox():
    def check(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and data.password == b"right"
        return AuthResult(success=good, handled=good or mechanism not in ("LOGIN", "PLAIN"))

    box = _Mailbox()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=check,
        auth_require_tls=False,
        auth_required=False,
    )
    controller.start()
    box.port = controller.port
    yield box
    controller.stop()


def test_a_mail_with_everything(run, context, mailbox):
    csv, image = context.storage.put(b"a,b", "x.csv"), context.storage.put(b"\x89PNG", "i.png")
    run(
        "notifications.mail.MailSend",
        host="127.0.0.1",
        port=mailbox.port,
        transportStrategy="SMTP",
        username="me",
        password="right",
        to="a@example.com;b@example.com",
        cc="Cé <c@example.com>",
        subject="About {{ flow.id }}\nand é",
        htmlTextContent="<p>hé <img src='cid:logo'></p>",
        attachments=f'[{{"uri": "{csv}", "name": "x.csv", "contentType": "text/csv"}}]',
        embeddedImages=[{"uri": image, "name": "logo", "contentType": "image/png"}],
        **{"from": "me@example.com"},
    )
    ((envelope, mail),) = mailbox.mails
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com", "c@example.com"]
    assert mail["Subject"] == "About flow-1 and é"
    assert mail["To"] == "a@example.com, b@example.com"
    assert mail.get_body(("html",)).get_content().strip() == "<p>hé <img src='cid:logo'></p>"
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("x.csv", "a,b")
    kinds = [part.get_content_type() for part in mail.walk()]
    assert "image/png" in kinds


def test_a_mail_about_an_execution(run, mailbox):
    run(
        "email.MailExecution",
        host="127.0.0.1",
        port=mailbox.port,
        transportStrategy="SMTP",
        to="a@example.com",
        executionId="bad-1",
        customFields={"<b>": "&"},
        **{"from": "me@example.com"},
    )
    ((_, mail),) = mailbox.mails
    assert mail["Subject"] == "company.team.other is FAILED"
    assert "Failed task: load" in mail.get_body(("plain",)).get_content()
    assert "<b>&lt;b&gt;</b>" in mail.get_body(("html",)).get_content()


def test_what_the_mail_server_refuses(run, mailbox):
    given = {
        "host": "127.0.0.1",
        "port": mailbox.port,
        "transportStrategy": "SMTP",
        "subject": "s",
        "from": "me@example.com",
    }
    with pytest.raises(TaskFailed, match="refuses the login"):
        run("email.MailSend", to="a@example.com", username="me", password="wrong", **given)
    with pytest.raises(TaskFailed, match=r"nobody@example\.com: no such user"):
        run("email.MailSend", to="nobody@example.com", **given)
    with pytest.raises(TaskMisconfigured, match="nobody to send to"):
        run("email.MailSend", **given)
    with pytest.raises(TaskFailed, match="cannot be used") as caught:
        run("email.MailSend", to="a@example.com", **{**given, "transportStrategy": "SMTPS"})
    assert "SMTP_TLS" in str(caught.value)
