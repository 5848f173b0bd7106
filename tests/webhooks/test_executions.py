from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from kestra_dagster.webhooks.guard import Guard, NotGuarded, guard_for, is_loopback

pytestmark = pytest.mark.dagster

API = "/api/v1/executions"
JSON = {"content-type": "application/json"}
FLOW = {
    "id": "asked",
    "namespace": "my.team",
    "inputs": [
        {"id": "n", "type": "INT"},
        {"id": "file", "type": "FILE", "required": False},
        {"id": "token", "type": "SECRET", "required": False},
    ],
    "tasks": [
        {
            "id": "one",
            "type": "io.kestra.plugin.core.debug.Return",
            "format": "{{ inputs.n + 1 }} {{ inputs.file is null ? '' : read(inputs.file) }}",
        }
    ],
    "outputs": [{"id": "said", "type": "STRING", "value": "{{ outputs.one.value }}"}],
}


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"n": 41}},
        {"data": {"n": "41"}},
        {"files": {"n": (None, "41")}},
    ],
)
@pytest.mark.parametrize("path", ["/my.team/asked", "/trigger/my.team/asked"])
def test_an_execution_with_inputs(app, body, path):
    one = app(FLOW)
    created = one.client.post(API + path, params={"labels": "by:me"}, **body)
    assert created.status_code == 200, created.text
    execution = one.client.get(f"{API}/{created.json()['id']}").json()
    assert execution["state"]["current"] == "SUCCESS"
    assert [one["state"] for one in execution["state"]["histories"]] == [
        "CREATED",
        "RUNNING",
        "SUCCESS",
    ]
    assert execution["outputs"] == {"said": "42 "}
    assert {"key": "by", "value": "me"} in execution["labels"]
    assert execution["inputs"]["n"] == 41


def test_a_file_and_a_secret(app):
    one = app(FLOW)
    created = one.client.post(
        f"{API}/my.team/asked",
        files={"file": ("a.txt", b"content")},
        data={"n": "1", "token": "hunter2"},
        params={"wait": "true"},
    )
    assert created.json()["outputs"] == {"said": "2 content"}
    (run,) = one.started("asked")
    assert "hunter2" not in str(run.tags) + str(run.run_config) + created.text


@pytest.mark.parametrize(
    ("path", "sent", "status", "words"),
    [
        ("/my.team/other", {}, 404, "no flow"),
        ("/my.team/asked", {}, 422, "`n`"),
        ("/my.team/asked", {"json": {"n": "many"}}, 422, "`n`"),
        ("/my.team/asked", {"json": [1]}, 422, "JSON map"),
        ("/my.team/asked", {"content": b"{", "headers": JSON}, 422, "not JSON"),
        ("/my.team/asked", {"json": {"n": 1}, "params": {"labels": "x"}}, 422, "key:value"),
        ("/my.team/asked", {"json": {"n": 1}, "params": {"scheduleDate": "soon"}}, 422, "soon"),
    ],
)
def test_what_cannot_be_done_is_told(app, path, sent, status, words):
    one = app(FLOW)
    answer = one.client.post(API + path, **sent)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert one.started("asked") == []


def test_a_later_date(app):
    one = app(FLOW)
    at = "2124-05-01T12:00:00Z"
    created = one.client.post(f"{API}/my.team/asked", json={"n": 1}, params={"scheduleDate": at})
    assert "id" not in created.json()
    one.daemon.at("2124-05-01T11:59:00")
    assert one.started("asked") == []
    one.daemon.at("2124-05-01T12:00:01")
    with one.stage.clock():
        assert one.house.start_overdue() == 0  # it waits for the sensor that other flows need
    one.daemon.at("2124-05-01T12:00:07")
    with one.stage.clock():
        assert one.house.start_overdue() == 1
        assert one.house.start_overdue() == 0
    (run,) = one.started("asked")
    assert run.tags["kestra/state"] == "SUCCESS"


def test_unknown_executions(app):
    one = app(FLOW)
    assert one.client.get(f"{API}/abc").status_code == 404
    assert one.client.post(f"{API}/abc/resume").status_code == 404


def test_resuming(app):
    paused: dict[str, Any] = {
        "id": "paused",
        "namespace": "my.team",
        "tasks": [
            {
                "id": "wait",
                "type": "io.kestra.plugin.core.flow.Pause",
                "onResume": [{"id": "why", "type": "STRING"}],
            },
            {
                "id": "one",
                "type": "io.kestra.plugin.core.debug.Return",
                "format": "{{ outputs.wait.onResume.why }}",
            },
        ],
    }
    one = app(paused)
    # The run goes on in the thread of the request that started it.
    request = threading.Thread(target=lambda: one.client.post(f"{API}/my.team/paused"))
    request.start()
    execution = _paused(one)
    refused = one.client.post(f"{API}/{execution}/resume", json={})
    assert (refused.status_code, "why" in refused.json()["message"]) == (422, True)
    resumed = one.client.post(f"{API}/{execution}/resume", data={"why": "because"})
    assert resumed.status_code == 204
    request.join(30)
    (run,) = one.started("paused")
    assert one.stage.outputs(run, "one")["value"] == "because"
    again = one.client.post(f"{API}/{execution}/resume", data={"why": "because"})
    assert again.status_code == 422


def _paused(one: Any) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in one.started("paused"):
            state = one.client.get(f"{API}/{run.run_id}").json()["state"]["current"]
            if state == "PAUSED":
                return run.run_id
        time.sleep(0.05)
    raise AssertionError("it never paused")


def test_a_token(app):
    one = app(FLOW, guard=Guard("hush"), base_url="http://example.org")
    path = f"{API}/my.team/asked"
    assert one.client.post(path, json={"n": 1}).status_code == 401
    wrong = {"Authorization": "Bearer hus"}
    assert one.client.post(path, json={"n": 1}, headers=wrong).status_code == 401
    assert one.client.get(f"{API}/abc").status_code == 401
    right = {"Authorization": "Bearer hush"}
    assert one.client.post(path, json={"n": 1}, headers=right).status_code == 200
    assert one.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1:8081"}, 200),
        ({"Host": "[::1]:8081"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_without_a_token_only_this_machine_may_ask(app, headers, status):
    one = app(FLOW)
    answer = one.client.post(f"{API}/my.team/asked", json={"n": 1}, headers=headers)
    assert answer.status_code == status


def test_an_open_address_needs_a_token(monkeypatch):
    monkeypatch.delenv("KESTRA_DAGSTER_TOKEN", raising=False)
    assert guard_for("127.0.0.1").token is None
    with pytest.raises(NotGuarded, match="KESTRA_DAGSTER_TOKEN"):
        guard_for("0.0.0.0")
    monkeypatch.setenv("KESTRA_DAGSTER_TOKEN", "hush")
    assert guard_for("0.0.0.0").token == "hush"
    assert [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "::", "a.b")] == [
        True,
        True,
        True,
        False,
        False,
    ]
