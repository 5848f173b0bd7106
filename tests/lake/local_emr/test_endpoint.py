"""The local EMR endpoint: who may talk to it, what it refuses, and what survives it (nothing)."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from kestra_dagster.lake.local_emr.process import local_emr
from kestra_dagster.lake.local_emr.server import EmrEndpoint
from kestra_dagster.lake.local_emr.spark import Machine

KEYS = secrets.token_hex(8), secrets.token_hex(16)
ENDLESS = "import time; print('alive', flush=True); time.sleep(600)"


@pytest.fixture
def endpoint(tmp_path: Path):
    root = tmp_path / "lake"
    (root / "builditall").mkdir(parents=True)
    with EmrEndpoint(Machine(root), tmp_path / "work", *KEYS) as emr:
        yield emr


def client(url: str, keys: tuple[str, str] = KEYS, token: str | None = None):
    return boto3.client(
        "emr",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def cluster(emr, **more) -> str:
    instances = {"KeepJobFlowAliveWhenNoSteps": True}
    return emr.run_job_flow(Name="c", Instances=instances, **more)["JobFlowId"]


def spark_step(*arguments: str) -> dict:
    jar = {"Jar": "command-runner.jar", "Args": list(arguments)}
    return {"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_a_request_without_a_signature_is_refused(endpoint: EmrEndpoint) -> None:
    headers = {"X-Amz-Target": "ElasticMapReduce.ListClusters"}
    request = urllib.request.Request(endpoint.url, b"{}", headers, method="POST")
    with pytest.raises(urllib.request.HTTPError, match="403"):
        urllib.request.urlopen(request)
    assert endpoint.calls == []


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ((KEYS[0], "another"), "InvalidSignatureException"),
        (("SOMEONE", KEYS[1]), "UnrecognizedClientException"),
    ],
)
def test_a_request_signed_with_another_key_is_refused(
    endpoint: EmrEndpoint, keys, code: str
) -> None:
    with pytest.raises(ClientError, match=code):
        client(endpoint.url, keys).list_clusters()


def test_a_request_signed_long_ago_or_changed_on_its_way_is_refused(endpoint: EmrEndpoint) -> None:
    captured = {}
    emr = client(endpoint.url)
    emr.meta.events.register("before-send", lambda request, **_: captured.update(vars(request)))
    emr.list_clusters()
    headers = {
        name: v.decode() if isinstance(v, bytes) else v for name, v in captured["headers"].items()
    }
    for body, extra in [
        (b'{"Marker": "1"}', {}),
        (captured["body"], {"X-Amz-Date": "20200101T000000Z"}),
    ]:
        request = urllib.request.Request(endpoint.url, body, {**headers, **extra}, method="POST")
        with pytest.raises(urllib.request.HTTPError, match="403"):
            urllib.request.urlopen(request)


def test_a_session_token_is_fine(endpoint: EmrEndpoint) -> None:
    assert client(endpoint.url, token="token").list_clusters()["Clusters"] == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (spark_step("bash", "-c", "id"), "`spark-submit` steps only"),
        (spark_step("spark-submit", "--conf", "a=b"), "names no script"),
        (spark_step("spark-submit", "--conf"), "has no value"),
        (
            {**spark_step("x"), "HadoopJarStep": {"Jar": "s3://b/x.jar"}},
            "`command-runner.jar` only",
        ),
    ],
)
def test_only_spark_submit_runs(endpoint: EmrEndpoint, step: dict, message: str) -> None:
    emr = client(endpoint.url)
    with pytest.raises(ClientError, match=message):
        emr.add_job_flow_steps(JobFlowId=cluster(emr), Steps=[step])


def test_logs_cannot_leave_the_lake(endpoint: EmrEndpoint) -> None:
    with pytest.raises(ClientError, match="not an s3:// URI"):
        cluster(client(endpoint.url), LogUri="s3://builditall/../../etc")


def test_tags_protection_pages_and_idle_timeout(endpoint: EmrEndpoint) -> None:
    emr = client(endpoint.url)
    first = cluster(emr, Tags=[{"Key": "dagster/run_id", "Value": "r"}])
    emr.add_tags(ResourceId=first, Tags=[{"Key": "more", "Value": "m"}])
    tags = emr.describe_cluster(ClusterId=first)["Cluster"]["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"dagster/run_id": "r", "more": "m"}
    emr.set_termination_protection(JobFlowIds=[first], TerminationProtected=True)
    with pytest.raises(ClientError, match="termination protected"):
        emr.terminate_job_flows(JobFlowIds=[first])
    emr.set_termination_protection(JobFlowIds=[first], TerminationProtected=False)
    made = {first} | {cluster(emr) for _ in range(60)}
    pages = list(
        emr.get_paginator("list_clusters").paginate(
            ClusterStates=["WAITING", "RUNNING", "STARTING"]
        )
    )
    assert len(pages) == 2
    assert {item["Id"] for page in pages for item in page["Clusters"]} == made
    emr.put_auto_termination_policy(ClusterId=first, AutoTerminationPolicy={"IdleTimeout": 1})
    wait(lambda: endpoint.clusters[first].cluster.state == "TERMINATED")


def test_without_java_one_message_says_what_to_install(endpoint: EmrEndpoint, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ClientError, match="openjdk-17-jre-headless"):
        cluster(client(endpoint.url))


@pytest.mark.whole
@pytest.mark.usefixtures("java")
def test_steps_follow_their_action_on_failure(endpoint: EmrEndpoint, tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("raise SystemExit(3)")
    emr = client(endpoint.url)
    steps = [spark_step("spark-submit", str(script)), spark_step("spark-submit", str(script))]
    steps[0]["ActionOnFailure"] = "TERMINATE_CLUSTER"
    cluster_id = cluster(emr, Steps=steps)
    endpoint.clusters[cluster_id].join(30)
    states = [step["Status"]["State"] for step in emr.list_steps(ClusterId=cluster_id)["Steps"]]
    assert states == ["CANCELLED", "FAILED"]
    status = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]
    assert (status["State"], status["StateChangeReason"]["Code"]) == (
        "TERMINATED_WITH_ERRORS",
        "STEP_FAILURE",
    )


@pytest.mark.whole
@pytest.mark.usefixtures("java")
def test_a_running_step_can_be_cancelled_and_the_next_runs(
    endpoint: EmrEndpoint, tmp_path: Path
) -> None:
    endless, quick = tmp_path / "endless.py", tmp_path / "quick.py"
    endless.write_text(ENDLESS)
    quick.write_text("print('quick')")
    emr = client(endpoint.url)
    cluster_id = cluster(emr)
    steps = [spark_step("spark-submit", str(path)) for path in (endless, quick)]
    first, second = emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=steps)["StepIds"]

    def state(step: str) -> str:
        return emr.describe_step(ClusterId=cluster_id, StepId=step)["Step"]["Status"]["State"]

    wait(lambda: state(first) == "RUNNING")
    emr.cancel_steps(ClusterId=cluster_id, StepIds=[first])
    wait(lambda: state(second) == "COMPLETED", 30)
    assert state(first) == "CANCELLED"


OWNER = """
    import sys, time, os
    from pathlib import Path
    from kestra_dagster.lake.local_emr.process import local_emr
    with local_emr(Path(sys.argv[1]), access_key=sys.argv[2], secret_key=sys.argv[3]) as emr:
        print(emr.url, emr.pid, flush=True)
        time.sleep(600)
"""


def alive_with(marker: str) -> list[str]:
    listing = subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listing.stdout.splitlines() if marker in line]


@pytest.mark.whole
@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("victim", ["owner", "endpoint"])
def test_no_process_survives_a_sigkill(tmp_path: Path, victim: str) -> None:
    """SIGKILL the owner: the endpoint and Spark end. SIGKILL the endpoint: Spark ends."""
    root = tmp_path / "lake"
    (root / "builditall").mkdir(parents=True)
    script = tmp_path / f"endless-{secrets.token_hex(4)}.py"
    script.write_text(ENDLESS)
    line = [sys.executable, "-c", textwrap.dedent(OWNER), str(root), *KEYS]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        emr = client(url)
        emr.add_job_flow_steps(
            JobFlowId=cluster(emr), Steps=[spark_step("spark-submit", str(script))]
        )
        wait(lambda: len(alive_with(script.name)) >= 3)  # the guard, Java and Python
        os.kill(owner.pid if victim == "owner" else int(pid), signal.SIGKILL)
        wait(lambda: alive_with(script.name) == [])
        wait(lambda: alive_with(str(root)) == [] or victim == "endpoint")
        owner.kill()


@pytest.mark.whole
def test_leaving_the_block_ends_the_endpoint(tmp_path: Path) -> None:
    with local_emr(tmp_path / "lake", access_key=KEYS[0], secret_key=KEYS[1]) as emr:
        assert client(emr.url).list_clusters()["Clusters"] == []
        assert emr.environment() == {"AWS_ENDPOINT_URL_EMR": emr.url}
    with pytest.raises(ProcessLookupError):
        os.kill(emr.pid, 0)
