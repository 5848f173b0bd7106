"""The authenticating proxy of deploy/reverse-proxy, in front of the web server and the webhooks."""

from __future__ import annotations

import json
import ssl
from base64 import b64encode

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.deployment.conftest import PASSWORD
from tests.deployment.pod import Pod
from tests.deployment.team import Team

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(200)]

ADDRESS = "127.0.0.1:8443"


@pytest.fixture
def browser(pod: Pod) -> httpx.Client:
    context = ssl.create_default_context(cadata=pod.secrets["tls_certificate"])
    context.check_hostname = False
    return httpx.Client(base_url=f"https://{ADDRESS}", verify=context, timeout=60)


def test_it_asks_for_a_password(browser: httpx.Client) -> None:
    asked = browser.get("/server_info")
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"] == 'Basic realm="Dagster"'
    assert browser.get("/server_info", auth=("ada", "guessed")).status_code == 401
    assert browser.post("/graphql", json={"query": "{ version }"}).status_code == 401
    served = browser.get("/server_info", auth=("ada", PASSWORD))
    assert "dagster_version" in served.json()
    assert "Strict-Transport-Security" in served.headers


def test_pages_follow_runs_by_a_web_socket(pod: Pod) -> None:
    context = ssl.create_default_context(cadata=pod.secrets["tls_certificate"])
    context.check_hostname = False
    credentials = b64encode(f"ada:{PASSWORD}".encode()).decode()
    with connect(
        f"wss://{ADDRESS}/graphql",
        ssl=context,
        subprotocols=[Subprotocol("graphql-ws")],
        additional_headers={"Authorization": f"Basic {credentials}"},
    ) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(timeout=30))["type"] == "connection_ack"


def test_webhooks_pass_with_their_own_key_and_the_rest_with_the_token(
    browser: httpx.Client, pod: Pod, team: Team
) -> None:
    base = "/api/v1/executions"
    called = browser.post(f"{base}/webhook/check/hook/not-to-be-guessed", json={"text": "x"})
    execution = called.json()["id"]
    assert browser.get(f"{base}/{execution}").status_code == 401
    token = {"Authorization": f"Bearer {pod.secrets['webhook_token']}"}
    assert browser.get(f"{base}/{execution}", headers=token).status_code == 200
    team.wait(execution)
