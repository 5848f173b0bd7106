"""Kubernetes: its own client against a small server of its API, where commands really run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import RUN
from kestra_dagster.tasks.kubernetes_files import say
from kestra_dagster.tasks.kubernetes_objects import Apply, Delete, Get, Patch, Restart
from kestra_dagster.tasks.kubernetes_pods import PodCreate, merged
from tests.tasks.kubernetes_server import TOKEN, Cluster, kubernetes_server

PODS = "/api/v1/namespaces/default/pods"
MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "{{ task.id }}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: other}
spec: {replicas: 1}
"""


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, Any], Cluster]]:
    monkeypatch.setattr("kestra_dagster.tasks.kubernetes_pods._LOOK_SECONDS", 0.02)
    with kubernetes_server(tmp_path) as (url, cluster):
        yield {"connection": {"masterUrl": url, "oauthToken": "{{ 'token' }}"}}, cluster


@pytest.mark.whole
def test_objects(context, server) -> None:
    on, cluster = server
    assert TOKEN == "token"
    made = context.run(Apply, {**on, "spec": MANIFEST})["metadata"]
    assert [one["name"] for one in made] == ["settings", "app"]
    kept = cluster.objects["/api/v1/namespaces/default/configmaps"]["settings"]
    assert kept["data"] == {"a": "task"}
    assert context.run(Get, {**on, "resourceType": "cm"}) == {}
    asked = {
        **on,
        "resourceType": "ConfigMap",
        "fetchType": "FETCH",
        "resourcesNames": ["settings"],
    }
    assert context.run(Get, asked)["metadataItems"][0]["uid"] == "u"
    gone = {**asked, "fetchType": "FETCH_ONE", "resourcesNames": ["nobody"]}
    assert context.run(Get, gone) == {"metadataItem": None, "statusItem": None, "size": 0}
    other = {**on, "namespace": "other", "resourceType": "deployments"}
    change = {"spec": {"replicas": 2}}
    context.run(Patch, {**other, "resourceName": "app", "patch": change})
    steps = '[{"op": "replace", "path": "/spec/paused", "value": true}]'
    asked = {**other, "resourceName": "app", "patch": steps, "patchStrategy": "JSON_PATCH"}
    assert context.run(Patch, {**asked, "apiGroup": "apps"})["metadata"]["name"] == "app"
    app = cluster.objects["/apis/apps/v1/namespaces/other/deployments"]["app"]
    assert app["spec"] == {"replicas": 2, "paused": True}
    named = {"resourceType": "Deployment", "resourcesNames": ["app"]}
    context.run(Restart, {**on, "namespace": "other", **named})
    marks = app["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in marks
    context.run(Delete, {**other, "resourcesNames": ["app", "nobody"]})
    assert cluster.objects["/apis/apps/v1/namespaces/other/deployments"] == {}
    with pytest.raises(TaskFailed, match="the cluster knows no kind `shirts`"):
        context.run(Get, {**on, "resourceType": "shirts"})
    with pytest.raises(TaskFailed, match="not found"):
        context.run(Patch, {**other, "resourceName": "app", "patch": "{}"})
    wrong = {"connection": {**on["connection"], "oauthToken": "hidden"}}
    with pytest.raises(TaskFailed, match="Unauthorized") as caught:
        context.run(Get, {**wrong, "resourceType": "pods"})
    assert "oauthToken" in str(caught.value)


@pytest.mark.whole
def test_a_pod_with_files(context, server) -> None:
    on, cluster = server
    script = 'cat {{ workingDir }}/in/a.txt; echo \'::{"outputs": {"n": 1}}::\'; '
    script += "tr a-z A-Z < {{ workingDir }}/in/a.txt > {{ outputFiles['out.txt'] }}"
    uri = context.storage.put(b"hello\n", "f")
    asked = {
        **on,
        "spec": {"containers": [{"name": "main", "image": "i", "command": ["sh", "-c", script]}]},
        "inputFiles": {"in/a.txt": uri},
        "outputFiles": ["out.txt"],
        "metadata": {"labels": {"own": "x"}},
    }
    outputs = context.run(PodCreate, asked)
    assert context.storage.text(outputs["outputFiles"]["out.txt"]) == "HELLO\n"
    assert outputs["vars"] == {"n": 1}
    assert "hello" in context.log.messages("INFO")
    labels = outputs["metadata"]["labels"]
    assert (labels["own"], labels["kestra.io/task-id"]) == ("x", "task")
    assert cluster.objects[PODS] == {}
    assert [each for each in cluster.seen if each.startswith("DELETE")] == [
        f"DELETE {PODS}/{outputs['metadata']['name']}"
    ]


@pytest.mark.whole
def test_a_pod_that_fails_or_is_resumed(context, server) -> None:
    on, cluster = server

    def spec(command: str) -> dict[str, Any]:
        return {"containers": [{"name": "main", "image": "i", "command": ["sh", "-c", command]}]}

    with pytest.raises(TaskFailed, match="container `main` ended with exit code 3") as caught:
        context.run(PodCreate, {**on, "spec": spec("echo oh; exit 3"), "delete": False})
    assert caught.value.outputs is not None
    ((name, _),) = cluster.objects[PODS].items()
    # The worker died: the next one finds the pod of this attempt.
    with pytest.raises(TaskFailed, match="exit code 3"):
        context.run(PodCreate, {**on, "spec": spec("true")})
    assert cluster.objects[PODS] == {}
    assert f"Pod '{name}' is resumed" in context.log.messages("INFO")
    late = {**on, "spec": spec("sleep 5"), "waitRunning": "PT0S"}
    with pytest.raises(TaskFailed, match="is still Running after 0 s"):
        context.run(PodCreate, late)


def test_what_containers_have_in_common() -> None:
    base = {
        "securityContext": {"a": 1, "b": {"c": 2}},
        "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
        "volumeMounts": [{"name": "tmp"}],
    }
    own = {
        "name": "n",
        "securityContext": {"b": {"d": 3}},
        "env": [{"name": "X", "value": "9"}],
        "volumeMounts": [{"name": "data"}],
    }
    assert merged(base, own) == {
        "name": "n",
        "securityContext": {"a": 1, "b": {"c": 2, "d": 3}},
        "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "9"}],
        "volumeMounts": [{"name": "tmp"}, {"name": "data"}],
    }


def test_how_a_cluster_is_named(context, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "none")
    with pytest.raises(TaskMisconfigured, match="no cluster is known here"):
        context.run(Get, {"resourceType": "pods"})
    given = {"masterUrl": "https://127.0.0.1:9", "caCertData": "no base64!"}
    with pytest.raises(TaskMisconfigured, match=r"`connection\.caCertData` is not Base64"):
        context.run(Get, {"resourceType": "pods", "connection": given})
    given = {"masterUrl": "http://127.0.0.1:9", "username": "u", "password": "hidden",
             "clientKeyData": base64.b64encode(b"key").decode()}  # fmt: skip
    with pytest.raises(TaskFailed, match="does not answer"):
        context.run(Get, {"resourceType": "pods", "connection": {**given, "clientKeyData": None}})
    unreached = PodCreate.model_validate(
        {"spec": {}, "connection": {**given, "clientKeyData": None}}, context=RUN
    )
    with (
        unreached.cluster(context) as cluster,
        pytest.raises(TaskFailed, match=r"container `c` of the pod `p`: .*refused"),
    ):
        say(cluster, "default", "p", "c", "ready")
    with pytest.raises(TaskMisconfigured, match=r"an object of `spec` lacks `apiVersion`"):
        context.run(Apply, {"spec": "a: 1", "connection": {**given, "clientKeyData": None}})
