"""The page where a person resumes or kills a paused execution."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kestra_dagster.runtime.live import live_execution
from kestra_dagster.webhooks.guard import Guard

pytestmark = pytest.mark.dagster

FLOW = """
id: asks
namespace: my.team
tasks:
  - id: wait
    description: Is this <right>?
    type: io.kestra.plugin.core.flow.Pause
    onResume:
      - {id: why, type: STRING, displayName: Reason & cause}
      - {id: count, type: INT, defaults: 3}
      - {id: kind, type: SELECT, values: [small, large]}
      - {id: several, type: MULTISELECT, values: [a, b, c], required: false}
      - {id: file, type: FILE, required: false}
      - {id: code, type: SECRET, required: false}
  - id: one
    type: io.kestra.plugin.core.debug.Return
    format: >-
      {{ outputs.wait.onResume.why }} {{ outputs.wait.onResume.count + 1 }}
      {{ outputs.wait.onResume.kind }} {{ outputs.wait.onResume.several }}
      {{ read(outputs.wait.onResume.file) }}
"""
FORM = {"why": "because", "count": "4", "kind": "large", "several": ["a", "c"]}
HERE = {"origin": "http://localhost"}


@contextmanager
def paused(one: Any) -> Iterator[str]:
    """Run the flow in the thread of the request that starts it, until it has ended."""
    headers = {"authorization": "Bearer hush"}
    start = lambda: one.client.post("/api/v1/executions/my.team/asks", headers=headers)  # noqa: E731
    request = threading.Thread(target=start)
    request.start()
    execution: list[str] = []

    def is_paused() -> bool:
        execution[:] = [run.run_id for run in one.started("asks")]
        return bool(execution) and bool(one.house.platform.signals.paused(execution[0]))

    until(is_paused)
    try:
        yield execution[0]
    finally:
        live = live_execution(execution[0])
        if live is not None and one.house.platform.signals.paused(execution[0]):
            live.kill()
        request.join(60)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.05)


def test_resuming_with_the_inputs_that_the_pause_asks_for(app, monkeypatch):
    monkeypatch.setenv("KESTRA_DAGSTER_WEBHOOKS_URL", "http://localhost/")
    one = app(FLOW)
    with paused(one) as execution:
        url = f"/ui/executions/{execution}"
        until(lambda: links(one, execution))
        assert [event.url for event in links(one, execution)] == [f"http://localhost{url}"]
        page = one.client.get(url)
        assert page.status_code == 200
        assert "PAUSED" in page.text
        assert "Is this &lt;right&gt;?" in page.text
        assert "Reason &amp; cause" in page.text
        assert re.search('<input id="count" name="count" type="number" value="3"', page.text)

        wrong = one.client.post(f"{url}?do=resume", data={**FORM, "count": "x"}, headers=HERE)
        assert wrong.status_code == 422
        assert "Invalid input for `count`" in wrong.text
        assert 'value="because"' in wrong.text

        file = {"file": ("a.txt", b"inside", "text/plain")}
        done = one.client.post(
            f"{url}?do=resume", data=FORM, files=file, headers=HERE, follow_redirects=False
        )
        assert (done.status_code, done.headers["location"]) == (303, "?")
    (run,) = one.started("asks")
    assert one.stage.outputs(run, "one")["value"] == 'because 5 large ["a","c"] inside'
    page = one.client.get(url)
    assert "SUCCESS" in page.text
    assert "<form" not in page.text


def links(one: Any, run_id: str) -> list[Any]:
    return [
        record.dagster_event.engine_event_data.metadata["resume or kill"]
        for record in one.stage.instance.all_logs(run_id)
        if record.dagster_event
        and record.dagster_event.is_engine_event
        and "resume or kill" in record.dagster_event.engine_event_data.metadata
    ]


def test_killing(app):
    one = app(FLOW)
    with paused(one) as execution:
        url = f"/ui/executions/{execution}"
        assert one.client.post(f"{url}?do=kill", headers=HERE).status_code == 200
    assert "KILLED" in one.client.get(url).text


def test_only_the_page_itself_may_change_something(app):
    one = app(FLOW)
    with paused(one) as execution:
        url = f"/ui/executions/{execution}"
        for origin in ({}, {"origin": "http://localhost:3000"}, {"origin": "null"}):
            assert one.client.post(f"{url}?do=kill", headers=origin).status_code == 403
        assert one.client.get(f"{url}?do=kill").status_code == 200
        assert one.client.get(url, headers={"host": "evil.example"}).status_code == 403
        assert "frame-ancestors 'none'" in one.client.get(url).headers["content-security-policy"]
        assert one.house.platform.signals.paused(execution)
        one.client.post(f"{url}?do=kill", headers=HERE)


def test_a_token_is_asked_for_once(app):
    one = app(FLOW, guard=Guard("hush"), base_url="http://flows.example")
    with paused(one) as execution:
        url = f"/ui/executions/{execution}"
        page = one.client.get(url)
        assert (page.status_code, "why" in page.text, "Token" in page.text) == (401, False, True)
        assert one.client.post(f"{url}?do=kill").status_code == 401
        assert one.client.post(f"{url}?do=enter", data={"token": "hus"}).status_code == 401
        entered = one.client.post(f"{url}?do=enter", data={"token": "hush"}, follow_redirects=False)
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "hush" not in cookie
        assert "PAUSED" in one.client.get(url).text
        assert one.client.post(f"{url}?do=kill").status_code == 200
    assert one.client.get("/ui/executions/unknown").status_code == 404
