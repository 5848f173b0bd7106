from __future__ import annotations

from typing import Any

import pytest

from kestra_dagster.webhooks.guard import Guard

pytestmark = pytest.mark.dagster

HOOK = "/api/v1/executions/webhook/my.team/hooked/sesame"


def hooked(format: str = "{{ trigger.body | json }}", **trigger: Any) -> dict[str, Any]:
    return {
        "id": "hooked",
        "namespace": "my.team",
        "tasks": [{"id": "one", "type": "io.kestra.plugin.core.debug.Return", "format": format}],
        "outputs": [{"id": "said", "type": "STRING", "value": "{{ outputs.one.value }}"}],
        "triggers": [
            {
                "id": "hook",
                "type": "io.kestra.plugin.core.trigger.Webhook",
                "key": "sesame",
                **trigger,
            }
        ],
    }


def said(app: Any, flow: str = "hooked") -> str:
    (run,) = app.started(flow)
    return app.stage.outputs(run, "one")["value"]


def test_a_request_starts_the_flow(app):
    one = app(
        hooked("{{ trigger.body.a[1] ~ trigger.parameters.x[0] ~ trigger.headers['x-y'][0] }}")
    )
    answer = one.client.post(f"{HOOK}?x=1&x=2", json={"a": [1, 2]}, headers={"X-Y": "z"})
    assert answer.status_code == 200
    body = answer.json()
    (run,) = one.started("hooked")
    assert (body["id"], body["namespace"], body["flowId"]) == (run.run_id, "my.team", "hooked")
    assert body["state"]["current"] == "CREATED"
    assert body["trigger"]["variables"]["parameters"] == {"x": ["1", "2"]}
    assert said(one) == "21z"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("tenant", ["", "/main"])
def test_methods_and_tenants(app, method, tenant):
    one = app(hooked("{{ trigger.headers.host[0] }}"))
    path = HOOK.replace("/api/v1", f"/api/v1{tenant}")
    assert one.client.request(method, path).status_code == 200
    assert one.client.request("DELETE", path).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        HOOK.replace("sesame", "simsim"),
        HOOK.replace("sesame", "sesame1"),
        HOOK.replace("hooked", "other"),
        HOOK.replace("my.team", "my"),
    ],
)
def test_a_wrong_key_and_an_unknown_flow_are_told_apart_by_nobody(app, path):
    answer = app(hooked()).client.post(path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Webhook not found"})


def test_a_key_from_a_secret(app, monkeypatch):
    monkeypatch.setenv("SECRET_HOOK", "c2ltc2lt")
    one = app(hooked(key="{{ secret('HOOK') }}"))
    assert one.client.post(HOOK.replace("sesame", "simsim"), json={}).status_code == 200
    monkeypatch.delenv("SECRET_HOOK")
    assert one.client.post(HOOK.replace("sesame", "simsim"), json={}).status_code == 404


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', '{"a":1}'),
        (b"[1, 2]", "[1,2]"),
        (b"plain", '"plain"'),
        (b"12", '"12"'),
        (b"\xff\xfe", '"//4="'),
    ],
)
def test_bodies(app, body, expected):
    one = app(hooked())
    assert one.client.post(HOOK, content=body).status_code == 200
    assert said(one) == expected


def test_conditions_hold_or_nothing_starts(app):
    condition = {
        "type": "io.kestra.plugin.core.condition.Expression",
        "expression": "{{ trigger.body.hello == 'world' }}",
    }
    one = app(hooked(conditions=[condition]))
    assert one.client.post(HOOK, json={"hello": "there"}).status_code == 204
    assert one.client.post(HOOK).status_code == 204
    assert one.started("hooked") == []
    assert one.client.post(HOOK, json={"hello": "world"}).status_code == 200
    assert len(one.started("hooked")) == 1


def test_when(app):
    one = app(hooked(when="{{ trigger.parameters.go[0] == 'yes' }}"))
    assert one.client.post(f"{HOOK}?go=no", json={}).status_code == 204
    assert one.client.post(f"{HOOK}?go=yes", json={}).status_code == 200


def test_inputs_and_labels(app):
    flow = hooked("{{ inputs.n + 1 }}", inputs={"n": "{{ trigger.body.n }}"}, labels={"by": "hook"})
    flow["inputs"] = [{"id": "n", "type": "INT"}]
    one = app(flow)
    assert one.client.post(HOOK, json={"n": 41}).status_code == 200
    (run,) = one.started("hooked")
    assert (said(one), run.run_config, run.tags["label/by"]) == ("42", {"n": 41}, "hook")


def test_inputs_that_cannot_be_rendered(app):
    one = app(hooked(inputs={"n": "{{ trigger.body.missing }}"}))
    answer = one.client.post(HOOK, json={})
    assert answer.status_code == 422
    assert "`trigger.body.missing` not found" in answer.json()["message"]


def test_waiting_for_outputs(app):
    one = app(hooked("{{ trigger.body.x }}", wait=True, returnOutputs=True))
    answer = one.client.post(HOOK, json={"x": "hi"})
    assert (answer.status_code, answer.json()) == (200, {"said": "hi"})


def test_waiting_for_a_text_with_a_code(app):
    one = app(
        hooked(
            "{{ trigger.parameters.validationToken[0] }}",
            wait=True,
            returnOutputs=True,
            responseContentType="text/plain",
            responseCode="{{ 200 + 2 }}",
        )
    )
    answer = one.client.get(f"{HOOK}?validationToken=abc")
    assert (answer.status_code, answer.text) == (202, "abc")
    assert answer.headers["content-type"].startswith("text/plain")


def test_waiting_for_what_fails(app):
    flow = hooked(wait=True)
    flow["tasks"] = [{"id": "one", "type": "io.kestra.plugin.core.execution.Fail"}]
    answer = app(flow).client.post(HOOK, json={})
    assert answer.status_code == 500
    assert answer.json()["state"]["current"] == "FAILED"


def test_a_body_may_be_stored(app):
    one = app(hooked("{{ read(trigger.uri) | length }}", fetchType="STORE"))
    assert one.client.post(HOOK, content=b"x" * 100_000).status_code == 200
    assert said(one) == "100000"


@pytest.mark.parametrize("storage", ["a folder", "S3"])
def test_files_of_a_form(app, storage, request, monkeypatch):
    if storage == "S3":
        place = request.getfixturevalue("s3_place")
        monkeypatch.setenv("KESTRA_DAGSTER_STORAGE", place)
    one = app(
        hooked(
            "{{ trigger.parts[0].filename ~ trigger.formFields.note[0] }}"
            "{{ read(trigger.parts[0].uri) }}"
        )
    )
    answer = one.client.post(HOOK, files={"f": ("a.txt", b"body")}, data={"note": "-n-"})
    assert answer.status_code == 200
    assert said(one) == "a.txt-n-body"


def test_large_bodies_do_not_reach_tags_or_config(app):
    one = app(hooked("{{ trigger.body | length }}"))
    assert one.client.post(HOOK, content=b"y" * 200_000).status_code == 200
    (run,) = one.started("hooked")
    assert "yyyy" not in str(run.tags) + str(run.run_config)
    assert said(one) == "200000"


def test_bodies_above_the_limit_are_refused(app):
    one = app(hooked(), guard=Guard(None, largest=1000))
    assert one.client.post(HOOK, content=b"x" * 1001).status_code == 413
    assert one.client.post(HOOK, content=(b"x" * 100 for _ in range(20))).status_code == 413
    assert one.started("hooked") == []
    assert one.client.post(HOOK, content=b"x" * 1000).status_code == 200


def test_disabled_and_switched_off(app):
    one = app(hooked(disabled=True))
    assert one.client.post(HOOK).status_code == 404


def test_a_person_switches_it_off(app):
    one = app(hooked())
    one.stage.switch("hooked__hook", on=False)
    assert one.client.post(HOOK).status_code == 404


def test_when_dagster_is_away_nothing_is_left(app):
    one = app(hooked())
    one.launcher.broken = True
    assert one.client.post(HOOK, json={}).status_code == 503
    one.launcher.broken = False
    one.daemon.at("2024-05-01T12:00:05", "2124-05-01T12:00:05")
    assert one.started("hooked") == []


def test_flows_are_read_again_when_they_change(app, monkeypatch):
    monkeypatch.setattr("kestra_dagster.webhooks.flows.LOOK_SECONDS", 0.0)
    one = app(hooked())
    assert one.client.post(HOOK.replace("sesame", "other")).status_code == 404
    file = one.stage.folder / "here" / "flows" / "hooked.yaml"
    file.write_text(file.read_text().replace("sesame", "other"))
    assert one.client.post(HOOK.replace("sesame", "other"), json={}).status_code == 200
