"""Web services: each request as the service's public API wants it, against a server that looks."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.polling import polling_type
from kestra_dagster.tasks.registry import default_registry
from kestra_dagster.tasks.rows import read_rows

sys.path.insert(0, str(Path(__file__).parent))
from http_recorder import recorder

TASKS = "kestra_dagster.tasks"


@pytest.fixture(scope="module")
def one_server():
    with recorder() as found:
        yield found


@pytest.fixture
def server(one_server, monkeypatch):
    one_server.answer({})
    for place, path in {
        "airbyte.CLOUD": "",
        "airtable.BASE": "",
        "apify.BASE": "",
        "commerce.STRIPE": "",
        "commerce.SHOPIFY": "/{domain}/{version}",
        "hubspot.BASE": "",
        "notion.BASE": "",
        "powerbi.BASE": "",
        "logins.ENTRA": "/login",
        "slack_app.BASE": "/api",
        "syncs.FIVETRAN": "",
        "syncs.HIGHTOUCH": "",
        "tickets.LINEAR": "",
        "tickets.SERVICENOW": "/{domain}",
        "workspace.CALENDAR": "/calendar",
        "workspace_drive.BASE": "",
        "workspace_mail.BASE": "/me",
        "workspace_mail.LOGIN": "/login",
        "workspace_sheets.BASE": "",
        "workspace_sheets.DRIVE": "/drive",
    }.items():
        monkeypatch.setattr(f"{TASKS}.{place}", one_server.url + path)
    return one_server


@pytest.fixture
def run(context):
    def run(kind: str, **properties: Any) -> Any:
        registry = default_registry()
        spec = registry.spec(registry.canonical(f"io.kestra.plugin.{kind}"))
        assert spec is not None
        return context.run(spec, properties)

    return run


def test_airbyte_is_waited_for(run, server):
    job = {"job": {"id": 7, "status": "running"}}
    given = {"url": server.url, "username": "u", "password": "p", "connectionId": "c",
             "pollFrequency": "PT0.001S"}  # fmt: skip
    server.answer(job, job, {"job": {"status": "succeeded"}})
    assert run("airbyte.connections.Sync", **given) == {"jobId": 7, "alreadyRunning": False}
    assert [one.line for one in server.seen] == [
        "POST /api/v1/connections/sync",
        "POST /api/v1/jobs/get",
        "POST /api/v1/jobs/get",
    ]
    assert server.seen[0].json == {"connectionId": "c"}
    assert server.seen[0].headers["Authorization"] == "Basic dTpw"
    server.answer(job, {"job": {"status": "failed"}})
    with pytest.raises(TaskFailed, match="job 7 ended: failed"):
        run("airbyte.connections.Sync", **given)
    server.answer(job)
    with pytest.raises(TaskFailed, match="not ended after PT0S"):
        run("airbyte.connections.Sync", maxDuration="PT0S", **given)
    server.answers = [(409, '{"message": "A sync is already running"}')]
    assert run("airbyte.connections.Sync", failOnActiveSync=False, **given)["alreadyRunning"]
    with pytest.raises(TaskFailed, match="409"):
        run("airbyte.connections.Sync", **given)


def test_airbytes_cloud(run, server, context):
    ended = {"jobId": 7, "status": "succeeded", "bytesSynced": 10, "rowsSynced": 2}
    server.answer({"access_token": "t"}, {"jobId": 7, "status": "running"}, ended)
    given = {"connectionId": "c", "clientId": "i", "clientSecret": "s"}
    assert run("airbyte.cloud.jobs.Sync", **given)["job"]["rowsSynced"] == 2
    assert [one.line for one in server.seen] == [
        "POST /applications/token",
        "POST /jobs",
        "GET /jobs/7",
    ]
    assert server.seen[1].json == {"connectionId": "c", "jobType": "sync"}
    assert server.last.headers["Authorization"] == "Bearer t"
    assert context.metric_value("rows_synced") == 2
    with pytest.raises(TaskMisconfigured, match="no credentials"):
        run("airbyte.cloud.jobs.Reset", connectionId="c")


def test_dbt_cloud(run, server, context):
    started = {"data": {"id": 5, "status": 1}}
    server.answer(started, {"data": {"status": 10}}, {"results": []}, {"nodes": {}})
    given = {"accountId": "1", "token": "t", "jobId": "2", "baseUrl": server.url}
    outputs = run("dbt.cloud.TriggerRun", stepsOverride=["dbt run"], **given)
    assert outputs["runId"] == "5"
    assert json.loads(context.storage.text(outputs["runResults"])) == {"results": []}
    assert server.seen[0].line == "POST /api/v2/accounts/1/jobs/2/run/"
    assert server.seen[0].headers["Authorization"] == "Token t"
    assert server.seen[0].json == {"cause": "Triggered by Kestra.", "steps_override": ["dbt run"]}
    assert server.seen[2].line == "GET /api/v2/accounts/1/runs/5/artifacts/run_results.json"
    server.answer(started, {"data": {"status": 20, "status_humanized": "Error"}}, {})
    with pytest.raises(TaskFailed, match="run 5 ended: Error"):
        run("dbt.cloud.TriggerRun", parseRunResults=False, **given)
    server.answer(started)
    assert run("dbt.cloud.TriggerRun", wait=False, **given) == {"runId": "5"}


def test_fivetran_and_hightouch(run, server):
    before = {"data": {"succeeded_at": "2026-01-01", "failed_at": None}}
    after = {"data": {"succeeded_at": "2026-01-02", "failed_at": None}}
    server.answer(before, {}, after)
    given = {"apiKey": "k", "apiSecret": "s", "connectorId": "c"}
    run("fivetran.connectors.Sync", **given)
    assert [one.line for one in server.seen] == [
        "GET /v2/connectors/c",
        "POST /v2/connectors/c/sync",
        "GET /v2/connectors/c",
    ]
    assert server.seen[1].json == {"force": False}
    server.answer(before, {}, {"data": {**before["data"], "failed_at": "2026-01-03"}})
    with pytest.raises(TaskFailed, match="failed at 2026-01-03"):
        run("fivetran.connectors.Sync", **given)
    server.answer({"id": 9}, {"data": [{"status": "success", "successfulRows": {"addedCount": 3}}]})
    assert run("hightouch.Sync", token="t", syncId=4) == {"runId": 9}
    assert server.seen[0].line == "POST /api/v1/syncs/4/trigger"
    assert server.last.query == {"runId": "9"}


def test_hubspot(run, server, context):
    server.answer({"id": "12", "properties": {"email": "a@b"}})
    outputs = run(
        "hubspot.contacts.Create",
        apiKey="k",
        email="a@b",
        firstName="A",
        additionalProperties={"x": 1},
    )
    assert outputs["id"] == 12
    assert json.loads(context.storage.text(outputs["uri"])) == {"email": "a@b"}
    assert server.last.line == "POST /crm/v3/objects/contacts"
    assert server.last.headers["Authorization"] == "Bearer k"
    assert server.last.json == {"properties": {"email": "a@b", "firstname": "A", "x": 1}}
    run("hubspot.deals.Create", apiKey="k", name="n", pipeline="p", stage="s",
        associatedContactIds=[5])  # fmt: skip
    assert server.last.json["properties"]["dealname"] == "n"
    assert server.last.json["associations"][0]["to"] == {"id": 5}
    run("hubspot.companies.Update", apiKey="k", recordId="1", industry="I")
    assert server.last.line == "PATCH /crm/v3/objects/companies/1"
    run("hubspot.tickets.Create", oauthToken="o", subject="s", priority="HIGH")
    assert server.last.json["properties"] == {
        "subject": "s",
        "hs_pipeline_stage": "1",
        "hs_ticket_priority": "HIGH",
    }
    page = {"results": [{"properties": {"n": 1}}], "paging": {"next": {"after": "2"}}}
    server.answer(page, {"results": [{"properties": {"n": 2}}]})
    outputs = run("hubspot.contacts.Search", apiKey="k", query="q", fetchAllPages=True)
    assert outputs["total"] == 2
    assert context.storage.text(outputs["uri"]) == '{"n":1}\n{"n":2}\n'
    assert server.last.json == {"query": "q", "limit": 10, "after": "2"}
    with pytest.raises(TaskMisconfigured, match="no credentials"):
        run("hubspot.deals.Get", recordId="1")


def test_gitlab(run, server):
    server.answer({"id": 1, "iid": 2, "web_url": "https://x"})
    given = {"url": server.url, "token": "t", "projectId": "group/name"}
    outputs = run(
        "gitlab.issues.Create", title="T", issueDescription="D", labels=["a", "b"], **given
    )
    assert outputs == {"issueId": "1", "issueIid": 2, "webUrl": "https://x", "statusCode": 200}
    assert server.last.path == "/api/v4/projects/group%2Fname/issues"
    assert server.last.headers["PRIVATE-TOKEN"] == "t"
    assert server.last.json == {"title": "T", "description": "D", "labels": "a,b"}
    server.answer([{"iid": 1}])
    assert run("gitlab.issues.Search", labels=["a"], **given)["count"] == 1
    assert server.last.query == {"state": "opened", "labels": "a"}
    server.answer({"id": 3})
    run("gitlab.MergeRequest", title="T", sourceBranch="a", targetBranch="main", **given)
    assert server.last.json == {"title": "T", "source_branch": "a", "target_branch": "main"}


def test_github(run, server, context):
    server.answer({"html_url": "https://x/1", "number": 1})
    given = {"oauthToken": "t", "endpoint": server.url}
    outputs = run("github.issues.Create", repository="o/n", title="T", labels=["a"], **given)
    assert outputs == {"issueUrl": "https://x/1", "issueNumber": 1}
    assert server.last.line == "POST /repos/o/n/issues"
    assert server.last.headers["Authorization"] == "Bearer t"
    assert server.last.json == {"title": "T", "labels": ["a"]}
    run("github.issues.Comment", repository="o/n", issueNumber=1, body="B", **given)
    assert server.last.line == "POST /repos/o/n/issues/1/comments"
    run("github.pulls.Create", repository="o/n", sourceBranch="a", targetBranch="b", title="T",
        **given)  # fmt: skip
    assert server.last.json["head"] == "a"
    server.answers = [(204, "")]
    run("github.workflows.Dispatch", repository="o/n", workflowId="ci.yml", ref="main", **given)
    assert server.last.line == "POST /repos/o/n/actions/workflows/ci.yml/dispatches"
    server.answer({"items": [{"number": n} for n in range(100)]}, {"items": [{"number": 100}]})
    uri = run("github.issues.Search", query="bug", repository="o/n", open=True, **given)["uri"]
    assert len(context.storage.text(uri).splitlines()) == 101
    assert server.seen[0].query == {
        "q": "bug repo:o/n is:open",
        "order": "asc",
        "per_page": "100",
        "page": "1",
    }
    server.answer({"items": []})
    run("github.pulls.Search", author="me", closedAt="2026", title="a b", **given)
    assert server.last.query["q"] == 'author:me closed:2026 title:"a b" is:pr'
    run("github.repositories.Search", user="o", visibility="PUBLIC", sort="STARS", **given)
    assert server.last.line == "GET /search/repositories"
    assert server.last.query["q"] == "user:o is:public"
    with pytest.raises(TaskMisconfigured, match="nothing to search"):
        run("github.users.Search", **given)
    with pytest.raises(TaskMisconfigured, match="owner/name"):
        run("github.issues.Create", repository="n", title="T", **given)


def test_jira_linear_zendesk_servicenow(run, server):
    server.answer({"id": "1", "key": "K-1"})
    jira = {"baseUrl": server.url, "username": "u", "password": "p"}
    assert run("jira.issues.Create", projectKey="K", summary="S", **jira)["key"] == "K-1"
    assert server.last.line == "POST /rest/api/2/issue"
    assert server.last.json == {
        "fields": {
            "project": {"key": "K"},
            "summary": "S",
            "labels": ["kestra-bot"],
            "issuetype": {"name": "Task"},
        }
    }
    run("jira.issues.CreateComment", issueIdOrKey="K-1", body="B", **jira)
    assert server.last.json == {"body": "B"}
    run("jira.issues.UpdateFields", issueIdOrKey="K-1", fields={"a": 1}, **jira)
    assert server.last.line == "PUT /rest/api/2/issue/K-1"
    with pytest.raises(TaskMisconfigured, match="no credentials"):
        run("jira.issues.Create", baseUrl=server.url, projectKey="K")
    teams = {"data": {"teams": {"nodes": [{"id": "T", "name": "Ops"}]}}}
    labels = {"data": {"issueLabels": {"nodes": [{"id": "L", "name": "bug"}]}}}
    made = {"data": {"issueCreate": {"success": True, "issue": {"id": "I"}}}}
    server.answer(teams, labels, made)
    linear = {"token": "t", "title": "x", "labels": ["bug"]}
    assert run("linear.issues.Create", team="ops", **linear)["issueId"] == "I"
    issue = {"teamId": "T", "title": "x", "labelIds": ["L"]}
    assert server.last.json["variables"] == {"input": issue}
    server.answer(teams)
    with pytest.raises(TaskMisconfigured, match="no team `other`"):
        run("linear.issues.Create", team="other", **linear)
    server.answer({"ticket": {"id": 3, "url": "https://x"}})
    zendesk = {"domain": server.url, "username": "u", "token": "t", "subject": "s"}
    assert run("zendesk.tickets.Create", description="d", priority="HIGH", **zendesk)["id"] == 3
    assert server.last.headers["Authorization"] == "Basic dS90b2tlbjp0"
    ticket = {"subject": "s", "comment": {"body": "d"}, "priority": "high"}
    assert server.last.json == {"ticket": ticket}
    server.answer({"access_token": "t"}, {"result": {"sys_id": "1"}})
    servicenow = {"domain": "d", "username": "u", "password": "p", "table": "incident"}
    outputs = run("servicenow.Post", clientId="i", clientSecret="s", data={"a": 1}, **servicenow)
    assert outputs["result"] == {"sys_id": "1"}
    assert server.seen[0].form["grant_type"] == "password"
    assert server.last.line == "POST /d/api/now/table/incident"
    assert server.last.headers["Authorization"] == "Bearer t"


def test_airtable(run, server):
    given = {"baseId": "app", "tableId": "My table", "apiKey": "k"}
    record = {"id": "r", "fields": {"a": 1}}
    server.answer({"records": [record], "offset": "o"}, {"records": [record]})
    outputs = run("airtable.records.List", fields=["a"], enableAutoPagination=True, **given)
    assert outputs["size"] == 2
    assert server.seen[0].path == "/v0/app/My%20table?fields%5B%5D=a"
    assert server.last.query["offset"] == "o"
    server.answer({"records": [record]})
    assert run("airtable.records.Create", fields={"a": 1}, **given)["recordIds"] == ["r"]
    assert server.last.json == {"records": [{"fields": {"a": 1}}], "typecast": False}
    run("airtable.records.Update", recordId="r", fields={"a": 2}, **given)
    assert server.last.line == "PATCH /v0/app/My%20table/r"
    with pytest.raises(TaskMisconfigured, match="either `fields` or `records`"):
        run("airtable.records.Create", **given)


def test_notion_takes_markdown(run, server):
    page = {"id": "p", "url": "https://x", "properties": {}}
    server.answer(page)
    text = (
        "# Head\n\nSome **bold** and [a link](https://l).\n\n- [x] done\n- item\n\n1. one\n\n"
        "> said\n\n---\n\n```python\nprint(1)\n```\n"
    )
    run("notion.page.Create", apiToken="t", title="T", content=text, parentPageId="above")
    sent = server.last.json
    assert server.last.headers["Notion-Version"]
    assert sent["parent"] == {"type": "page_id", "page_id": "above"}
    assert [one["type"] for one in sent["children"]] == [
        "heading_1", "paragraph", "to_do", "bulleted_list_item", "numbered_list_item",
        "quote", "divider", "code",
    ]  # fmt: skip
    rich = sent["children"][1]["paragraph"]["rich_text"]
    assert [(one["text"]["content"], one.get("annotations")) for one in rich] == [
        ("Some ", None),
        ("bold", {"bold": True}),
        (" and ", None),
        ("a link", None),
        (".", None),
    ]
    assert rich[3]["text"]["link"] == {"url": "https://l"}
    assert sent["children"][2]["to_do"]["checked"] is True
    server.answer(page)
    many = "\n\n".join(["line"] * 150)
    run("notion.page.Update", apiToken="t", pageId="p", title="T", content=many)
    assert [one.line for one in server.seen] == [
        "PATCH /v1/pages/p",
        "PATCH /v1/blocks/p/children",
        "PATCH /v1/blocks/p/children",
        "GET /v1/pages/p",
    ]
    block = {"type": "heading_1", "heading_1": {"rich_text": [{"plain_text": "Head"}]}}
    server.answer(page, {"results": [block], "next_cursor": "c"}, {"results": [block]})
    assert run("notion.page.Read", apiToken="t", pageId="p")["content"] == "# Head\n# Head"


def test_slack_apps(run, server, context):
    server.answer({"ok": True, "channel": {"id": "C", "is_private": False, "is_im": False}})
    outputs = run("slack.app.conversations.Create", token="t", name="n")
    assert outputs == {"id": "C", "isPrivate": False, "isInstantMessage": False}
    assert server.last.line == "POST /api/conversations.create"
    assert server.last.headers["Authorization"] == "Bearer t"
    assert server.last.form == {"name": "n", "is_private": "false"}
    run("slack.app.conversations.Invite", token="t", channel="C", users=["U1", "U2"])
    assert server.last.form == {"channel": "C", "users": "U1,U2"}
    server.answer({"ok": True, "ts": "1.2"})
    given = {"token": "t", "channel": "C"}
    blocks = '{"blocks": [{"type": "divider"}]}'
    outputs = run("slack.app.chats.Post", payload=blocks, timestamp="1.1", **given)
    assert outputs == {"timestamp": "1.2"}
    assert server.last.form["thread_ts"] == "1.1"
    assert json.loads(server.last.form["blocks"]) == [{"type": "divider"}]
    run("slack.app.chats.Update", messageText="x", timestamp="1.1", **given)
    assert server.last.form["ts"] == "1.1"
    run("slack.app.reactions.Add", name="eyes", timestamp="1.2", **given)
    assert server.last.form == {"channel": "C", "name": "eyes", "timestamp": "1.2"}
    first = {"ok": True, "members": ["U1"], "response_metadata": {"next_cursor": "c"}}
    server.answer(first, {"ok": True, "members": ["U2"]})
    assert run("slack.app.conversations.Members", **given)["rows"] == ["U1", "U2"]
    place = {"ok": True, "upload_url": server.url + "/up", "file_id": "F"}
    server.answer(place, {}, {"ok": True, "files": [{"id": "F", "url_private": "u"}]})
    file = context.storage.put(b"data", "a.txt")
    outputs = run("slack.app.files.Upload", token="t", channels=["C"], filename="a.txt",
                  **{"from": file})  # fmt: skip
    assert outputs == {"id": "F", "urlPrivate": "u"}
    assert server.seen[1].text == "data"
    server.answer({"ok": False, "error": "not_in_channel"})
    with pytest.raises(TaskFailed, match=r"refuses `chat\.postMessage`: not_in_channel"):
        run("slack.app.chats.Post", messageText="x", **given)


def test_shopify_stripe_apify(run, server, context):
    server.answer({"orders": [{"id": 1}, {"id": 2}]})
    given = {"storeDomain": "shop", "accessToken": "t", "financialStatus": "paid"}
    assert run("shopify.orders.List", **given)["count"] == 2
    assert server.last.query == {"financial_status": "paid"}
    assert server.last.headers["X-Shopify-Access-Token"] == "t"
    server.answer({"available": [{"currency": "eur", "amount": 5, "x": 1}]})
    outputs = run("stripe.balance.Retrieve", apiKey="k")
    assert outputs["available"] == [{"currency": "eur", "amount": 5}]
    assert server.last.line == "GET /v1/balance"
    server.answer({"data": {"id": "r", "defaultDatasetId": "d"}})
    outputs = run("apify.actor.Run", apiToken="t", actorId="a/b", input={"q": 1}, memory="MB_512")
    assert outputs["defaultDatasetId"] == "d"
    assert server.last.path == "/v2/acts/a~b/runs?memory=512"
    assert server.last.json == {"q": 1}
    server.answer([{"a": 1}])
    assert run("apify.dataset.Get", apiToken="t", datasetId="d")["dataset"] == [{"a": 1}]
    assert server.last.query["clean"] == "true"
    path = run("apify.dataset.Save", apiToken="t", datasetId="d", fields=["a", "b"])["path"]
    assert json.loads(context.storage.text(path)) == [{"a": 1}]
    assert server.last.query["fields"] == "a,b"


@pytest.fixture
def google(server):
    """A service account whose tokens the test's server gives."""
    pytest.importorskip("google.auth")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "a@b",
        "private_key": key.decode(),
        "token_uri": server.url + "/token",
    }
    return {"serviceAccount": json.dumps(account)}


def test_google_workspace(run, server, google, context):
    token = {"access_token": "T", "expires_in": 3600, "token_type": "Bearer"}
    server.answer(token, {"spreadsheetId": "S", "spreadsheetUrl": "https://x"})
    outputs = run("googleworkspace.sheets.CreateSpreadsheet", title="T", **google)
    assert outputs["spreadsheetId"] == "S"
    assert server.last.line == "POST /v4/spreadsheets"
    assert server.last.headers["Authorization"] == "Bearer T"
    assert server.last.json == {"properties": {"title": "T"}}
    file = context.storage.put(b'a,"b, c"\n1,2\n', "rows.csv")
    server.answer(token, {"updatedRows": 2, "updatedColumns": 2, "updatedRange": "R"})
    outputs = run("googleworkspace.sheets.Load", spreadsheetId="S", **{"from": file}, **google)
    assert outputs == {"range": "R", "rows": 2, "columns": 2}
    assert server.last.line == "PUT /v4/spreadsheets/S/values/Sheet1"
    assert server.last.json == {"values": [["a", "b, c"], ["1", "2"]]}
    rows = context.storage.put(b'{"a":1,"b":null}\n{"a":{"x":2},"b":"t"}\n', "rows.ion")
    server.answer(token, {}, {"updates": {"updatedRows": 3}})
    given = {"spreadsheetId": "S", "insertType": "APPEND", "header": True}
    assert run("googleworkspace.sheets.Load", **{"from": rows}, **given, **google)["rows"] == 0
    assert server.last.json == {"values": [["a", "b"], [1, ""], ['{"x": 2}', "t"]]}
    sheets = {"sheets": [{"properties": {"title": "One"}}, {"properties": {"title": "Two"}}]}
    values = {"valueRanges": [{"values": [["a", "b"], [1]]}]}
    server.answer(token, sheets, values)
    outputs = run(
        "gcp.gsheets.Read", spreadsheetId="S", fetch=True, selectedSheetsTitle=["One"], **google
    )
    assert outputs == {"rows": {"One": [{"a": 1, "b": None}]}, "size": 1}
    when = {"dateTime": "2026-01-01T09:00:00Z", "timeZone": "UTC"}
    server.answer(token, {"id": "E"})
    event = {"calendarId": "me@x", "summary": "S", "startTime": when, "endTime": when}
    assert run("googleworkspace.calendar.InsertEvent", **event, **google)["event"]["id"] == "E"
    assert server.last.path == "/calendar/calendars/me%40x/events"
    assert server.last.json == {"summary": "S", "start": when, "end": when}
    server.answer(token, {"id": "F", "name": "n"})
    upload = {"from": file, "contentType": "text/csv", "name": "n", "parents": ["P"]}
    outputs = run("googleworkspace.drive.Upload", **upload, **google)
    assert outputs["file"]["size"] == 13
    assert server.last.query["uploadType"] == "multipart"
    assert '{"name": "n", "parents": ["P"]}' in server.last.text
    assert "Content-Type: text/csv" in server.last.text


def test_jsonata(run, context):
    outputs = run("transform.jsonata.TransformValue", expression="$sum(a.b)",
                  **{"from": '{"a": [{"b": 1}, {"b": 2}]}'})  # fmt: skip
    assert outputs == {"value": 3}
    rows = context.storage.put(b'{"a":[1,2]}\n{"a":[3]}\n', "rows.ion")
    outputs = run("transform.jsonata.TransformItems", expression="a", **{"from": rows})
    assert outputs["processedItemsTotal"] == 3
    assert context.storage.text(outputs["uri"]) == "1\n2\n3\n"
    with pytest.raises(TaskMisconfigured, match="not JSONata"):
        run("transform.jsonata.TransformValue", expression="(", **{"from": "1"})
    with pytest.raises(TaskFailed, match="the expression fails"):
        run("transform.jsonata.TransformValue", expression="$x()", **{"from": "1"})


def test_a_refusal_names_the_service_and_hides_the_token(run, server):
    server.answers = [(401, '{"message": "bad token"}')]
    with pytest.raises(TaskFailed, match="401") as told:
        run("hightouch.Sync", token="very-secret", syncId=1)
    assert "very-secret" not in str(told.value)


def test_graphql(run, server):
    server.answer({"data": {"me": 1}, "errors": [{"message": "half"}]})
    given = {"uri": f"{server.url}/graphql", "query": "query Q { me }", "operationName": "Q",
             "variables": {"n": 1}, "headers": {"Authorization": "Bearer t"}}  # fmt: skip
    outputs = run("graphql.Request", **given)
    assert (outputs["body"], outputs["error"]) == ({"me": 1}, [{"message": "half"}])
    assert (outputs["code"], outputs["uri"]) == (200, f"{server.url}/graphql")
    asked = {"query": "query Q { me }", "variables": {"n": 1}, "operationName": "Q"}
    assert (server.last.line, server.last.json) == ("POST /graphql", asked)
    assert server.last.headers["Authorization"] == "Bearer t"
    assert server.last.headers["Content-Type"] == "application/json"
    with pytest.raises(TaskFailed, match=r"the query failed: .*half"):
        run("graphql.Request", failOnGraphQLErrors=True, **given)


def test_databricks(run, server, context, monkeypatch):
    monkeypatch.setattr(f"{TASKS}.databricks._LOOK", timedelta())
    monkeypatch.setattr(f"{TASKS}.databricks_jobs._LOOK", timedelta())
    on = {"host": server.url, "authentication": {"token": "t"}}
    server.answer({"cluster_id": "c"}, {"state": "PENDING"}, {"state": "RUNNING"})
    given = {"clusterName": "n", "sparkVersion": "13", "minWorkers": 1, "maxWorkers": 2}
    made = run("databricks.cluster.CreateCluster", **on, **given)
    assert (made["clusterId"], made["clusterState"]) == ("c", "RUNNING")
    assert server.seen[0].line == "POST /api/2.1/clusters/create"
    assert server.seen[0].json == {"cluster_name": "n", "spark_version": "13",
                                   "autoscale": {"min_workers": 1, "max_workers": 2}}  # fmt: skip
    assert server.last.headers["Authorization"] == "Bearer t"
    server.answer({}, {"state": "ERROR", "state_message": "no quota"})
    with pytest.raises(TaskFailed, match="the cluster c ended: no quota"):
        run("databricks.cluster.DeleteCluster", **on, clusterId="c")
    python = {"pythonFile": "/a.py", "sparkPythonTaskSource": "WORKSPACE", "parameters": ["x"]}
    task = {"existingClusterId": "c", "taskKey": "k", "sparkPythonTask": python,
            "sqlTask": {"queryId": "q"}, "dependsOn": ["j"]}  # fmt: skip
    ended = {"state": {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}}
    waiting = {"state": {"life_cycle_state": "RUNNING"}}
    server.answer({"job_id": 1}, {"run_id": 2}, waiting, ended)
    waited = {**on, "jobName": "n", "jobTasks": [task], "waitForCompletion": "PT5M"}
    outputs = run("databricks.job.CreateJob", **waited)
    assert outputs["runURI"] == f"{server.url}/#job/1/run/2"
    sent = {"existing_cluster_id": "c", "task_key": "k", "depends_on": [{"task_key": "j"}],
            "spark_python_task": {"python_file": "/a.py", "source": "WORKSPACE",
                                  "parameters": ["x"]},
            "sql_task": {"query": {"query_id": "q"}}}  # fmt: skip
    assert server.seen[0].json == {"name": "n", "tasks": [sent]}
    failed = {"state": {"life_cycle_state": "TERMINATED", "result_state": "FAILED"}}
    server.answer({"run_id": 2}, {"job_id": 3, **failed})
    with pytest.raises(TaskFailed, match="the run 2 of Databricks ended: FAILED") as caught:
        run("databricks.job.SubmitRun", **on, runTasks=[task], waitForCompletion="PT1M")
    server.answer({"run_id": 9, "state": {"life_cycle_state": "RUNNING"}})
    with pytest.raises(TaskFailed, match="hint: raise `waitForCompletion`"):
        run("databricks.job.SubmitRun", **on, runTasks=[task], waitForCompletion="PT0S")
    assert caught.value.outputs == {"runId": 2, "runURI": f"{server.url}/#job/3/run/2"}
    uri = context.storage.put(b"data", "f")
    server.answer({"access_token": "a"}, {"handle": 7}, {})
    principal = {**on, "authentication": {"clientId": "i", "clientSecret": "s"}}
    run("databricks.dbfs.Upload", **principal, **{"from": uri, "to": "/f"})
    assert server.seen[0].line == "POST /oidc/v1/token"
    assert server.seen[1].json == {"path": "/f", "overwrite": False}
    assert server.seen[2].json == {"handle": 7, "data": "ZGF0YQ=="}
    assert server.last.line == "POST /api/2.0/dbfs/close"
    server.answer({"bytes_read": 4, "data": "ZGF0YQ=="}, {"bytes_read": 0})
    found = run("databricks.dbfs.Download", **on, **{"from": "/x/f.txt"})
    assert context.storage.text(found["uri"]) == "data"
    assert server.last.query == {"path": "/x/f.txt", "offset": "4", "length": "1048576"}
    with pytest.raises(TaskMisconfigured, match="no credentials for Databricks"):
        run("databricks.cluster.DeleteCluster", host=server.url, clusterId="c")


def test_pubsub(run, server, context, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.url.partition("://")[2])
    on = {"projectId": "p", "topic": "t"}
    server.answer({"messageIds": ["1", "2"]})
    sent = [{"data": "a", "attributes": {"k": 1}, "orderingKey": "o"}, {"data": {"n": 1}}]
    assert run("gcp.pubsub.Publish", **on, **{"from": sent}) == {"messagesCount": 2}
    assert server.last.line == "POST /v1/projects/p/topics/t:publish"
    first, second = server.last.json["messages"]
    assert first == {"data": "YQ==", "attributes": {"k": "1"}, "orderingKey": "o"}
    assert b64decode(second["data"]) == b'{"n": 1}'
    told = {"data": "eyJuIjogMX0=", "messageId": "7", "attributes": {"k": "v"}}
    pulled = {"receivedMessages": [{"ackId": "x", "message": told}]}
    server.answers = [(409, '{"error": {"code": 409}}'), (200, json.dumps(pulled)), (200, "{}")]
    given = {**on, "subscription": "s", "maxRecords": 1, "serdeType": "JSON"}
    server.seen.clear()
    taken = run("gcp.pubsub.Consume", **given)
    (row,) = read_rows(taken["uri"], context)
    assert row == {"data": {"n": 1}, "attributes": {"k": "v"}, "messageId": "7", "orderingKey": ""}
    assert [one.line.rpartition("/")[2] for one in server.seen] == ["s", "s:pull", "s:acknowledge"]
    assert server.seen[0].json == {"topic": "projects/p/topics/t"}
    assert server.last.json == {"ackIds": ["x"]}
    server.answers = [(403, "{}"), (200, "{}")]
    with pytest.raises(TaskFailed, match="403"):
        run("gcp.pubsub.Consume", **{**given, "subscription": "s-409"})
    kind = polling_type("io.kestra.plugin.gcp.pubsub.RealtimeTrigger")
    assert kind is not None
    poll = kind.model_validate({**on, "subscription": "s"}, context=RUN)
    server.answer({}, pulled, {}, {})
    found = poll.poll(context, {})
    assert [one["data"] for one in found.messages] == ['{"n": 1}']
    found.finish()
    assert server.last.json == {"ackIds": ["x"]}


def test_salesforce(run, server, context):
    who = {"username": "u&", "password": "p", "authEndpoint": server.url}
    session = f"<r><sessionId>s</sessionId><serverUrl>{server.url}/services/x</serverUrl></r>"
    record = {"attributes": {"type": "Account"}, "Id": "1", "Owner": {"attributes": {}, "N": "o"}}
    more = {"records": [record], "done": False, "nextRecordsUrl": "/services/more"}
    last = {"records": [record], "done": True}
    server.seen.clear()
    server.answers = [(200, session), (200, json.dumps(more)), (200, json.dumps(last))]
    asked = {"connection": who, "query": "SELECT Id FROM Account", "fetchType": "FETCH"}
    found = run("ee.salesforce.SoqlQuery", **asked)
    assert found == {"rows": [{"Id": "1", "Owner": {"N": "o"}}] * 2, "size": 2}
    assert server.seen[0].line.startswith("POST /services/Soap/u/")
    assert "<n1:username>u&amp;</n1:username>" in server.seen[0].text
    assert server.seen[1].query == {"q": "SELECT Id FROM Account"}
    assert server.seen[1].headers["Authorization"] == "Bearer s"
    assert server.last.line == "GET /services/more"
    refused = {"success": False, "errors": [{"message": "no name"}]}
    answers = [{"id": "1", "success": True, "errors": []}, refused]
    server.answers = [(200, session), (200, json.dumps(answers))]
    rows = [{"Name": "a"}, {"Name": ""}]
    with pytest.raises(TaskFailed, match="refused 1 of 2 records: no name"):
        run("ee.salesforce.Create", connection=who, objectName="Contact", records=rows)
    assert server.last.json["records"][0] == {"attributes": {"type": "Contact"}, "Name": "a"}
    server.answers = [(500, "<e><faultstring>LOGIN: wrong</faultstring></e>")]
    with pytest.raises(TaskMisconfigured, match="refused the login: LOGIN: wrong"):
        run("ee.salesforce.Delete", connection=who, objectName="Contact", ids=["1"])


def test_airflow(run, server):
    begun = {"dag_run_id": "r", "state": "queued"}
    server.answer(begun, begun, {"state": "success", "start_date": "a", "end_date": "b"})
    given = {"baseUrl": server.url, "dagId": "d", "wait": True, "pollFrequency": "PT0.001S",
             "options": {"basicAuthUser": "u", "basicAuthPassword": "p"}}  # fmt: skip
    ended = run("airflow.dags.TriggerDagRun", **given)
    assert ended == {
        "dagId": "d",
        "dagRunId": "r",
        "state": "success",
        "started": "a",
        "ended": "b",
    }
    assert [one.line for one in server.seen] == [
        "POST /api/v1/dags/d/dagRuns",
        *["GET /api/v1/dags/d/dagRuns/r"] * 2,
    ]
    assert server.seen[0].json["conf"]["task"] == "task"
    assert server.seen[0].headers["Authorization"] == "Basic dTpw"
    server.answer(begun, {"state": "failed"})
    with pytest.raises(TaskFailed, match="the run `r` of the DAG `d` failed"):
        run("airflow.dags.TriggerDagRun", **{**given, "body": {"conf": {}}})
    assert server.seen[0].json == {"conf": {}}


def test_powerbi_surrealdb_and_huggingface(run, server):
    given = {"tenantId": "t", "clientId": "i", "clientSecret": "s", "groupId": "g",
             "datasetId": "d", "wait": True, "pollDuration": "PT0.001S"}  # fmt: skip
    server.answer({"access_token": "a"})
    with pytest.raises(TaskFailed, match="does not say which refresh"):
        run("powerbi.RefreshGroupDataset", **given)
    assert server.seen[0].line == "POST /login/t/oauth2/v2.0/token"
    server.answer({})
    with pytest.raises(TaskFailed, match="/token` gives no access token"):
        run("powerbi.RefreshGroupDataset", **given)
    server.answer({"access_token": "a"})
    with pytest.raises(TaskFailed, match="does not say which refresh"):
        run("powerbi.RefreshGroupDataset", **given)
    assert server.last.line == "POST /v1.0/myorg/groups/g/datasets/d/refreshes"
    assert server.last.headers["Authorization"] == "Bearer a"
    host, _, port = server.url.partition("://")[2].partition(":")
    on = {"host": host, "port": int(port), "namespace": "n", "database": "d", "username": "u",
          "password": "p", "query": "SELECT * FROM x WHERE a = $a"}  # fmt: skip
    server.answer([{"status": "OK", "result": None}, {"status": "OK", "result": [{"a": 1}]}])
    found = run("surrealdb.Query", fetchType="FETCH", parameters={"a": "1"}, **on)
    assert found == {"rows": [{"a": 1}], "size": 1}
    assert (server.last.line, server.last.query) == ("POST /sql", {"a": "1"})
    assert (server.last.text, server.last.headers["Surreal-NS"]) == (on["query"], "n")
    server.answer([{"status": "ERR", "result": "no such table"}])
    with pytest.raises(TaskFailed, match="SurrealDB: no such table"):
        run("surrealdb.Query", **on)
    server.answer([{"label": "negative"}])
    asked = {"apiKey": "k", "model": "a/b", "inputs": "x", "endpoint": f"{server.url}/models"}
    found = run("huggingface.Inference", parameters={"top_k": 3}, **asked)
    assert found == {"output": [{"label": "negative"}]}
    assert server.last.line == "POST /models/a/b"
    assert server.last.json == {"inputs": "x", "parameters": {"top_k": 3}}


def test_gmail(run, server, context):
    who = {"clientId": "i", "clientSecret": "s", "refreshToken": "r"}
    server.answer({"access_token": "a"}, {"id": "1", "threadId": "t"})
    uri = context.storage.put(b"data", "a.txt")
    mail = {"to": ["x@y.z", "u@v.w"], "from": "me@y.z", "subject": "Hi", "textBody": "plain",
            "htmlBody": "<b>", "attachments": [uri]}  # fmt: skip
    assert run("googleworkspace.mail.Send", **who, **mail) == {"messageId": "1", "threadId": "t"}
    assert server.seen[0].form["refresh_token"] == "r"
    sent = message_from_bytes(b64decode(server.last.json["raw"], "-_"))
    assert (sent["To"], sent["Subject"]) == ("x@y.z, u@v.w", "Hi")
    texts = [each.get_content_type() for each in sent.walk() if not each.is_multipart()]
    assert texts == ["text/plain", "text/html", "text/plain"]
    server.answer({"messages": [{"id": "1", "threadId": "t"}], "resultSizeEstimate": 1})
    asked = {"query": "is:unread", "labelIds": ["INBOX"], "accessToken": "own"}
    found = run("googleworkspace.mail.List", **who, **asked)
    assert found["messages"] == [{"id": "1", "threadId": "t"}]
    assert (server.last.query["q"], server.last.headers["Authorization"]) == (
        "is:unread",
        "Bearer own",
    )
    body = {"mimeType": "text/plain", "body": {"data": "cGxhaW4"}}
    headers = [{"name": "Subject", "value": "Hi"}]
    payload = {"mimeType": "multipart/mixed", "headers": headers, "parts": [body]}
    server.answer({"id": "1", "payload": payload})
    read = run("googleworkspace.mail.Get", **who, messageId="1", accessToken="own")["message"]
    assert (read["subject"], read["textPlain"], read["textHtml"]) == ("Hi", "plain", None)
