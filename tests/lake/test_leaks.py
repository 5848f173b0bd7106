"""No cluster outlives its run: cancelled from the UI, killed, or out of reach of EMR."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.definitions import lake_definitions
from kestra_dagster.lake.jobs.catalog import tables
from kestra_dagster.lake.local_emr.server import Fault
from kestra_dagster.lake.outside import LAYERS

pytestmark = [pytest.mark.whole, pytest.mark.dagster, pytest.mark.timeout(300)]

LONG = 40_000_000
"""Rows of a day that no test waits for."""

RUN = """
import os
import dagster as dg
from kestra_dagster.lake.definitions import lake_definitions
with dg.DagsterInstance.get() as instance:
    lake_definitions().resolve_job_def("lake_data_generation").execute_in_process(
        instance=instance, partition_key="2025-01-10", raise_on_error=False
    )
"""


def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)
    return value


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def newest(aws):
    return aws.emr.clusters.newest_first()[0]


def at_work(aws, before: int) -> bool:
    """Say whether a further cluster runs a step."""
    clusters = aws.emr.clusters.newest_first()
    return len(clusters) > before and any(
        step.state == "RUNNING" for step in clusters[0].cluster.steps
    )


def killed_run(aws, instance, **settings: str):
    """Kill a run in the middle of its step; return its cluster, which nobody has terminated."""
    before = len(aws.cluster_states())
    environment = {**os.environ, "DAGSTER_HOME": instance.root_directory, **settings}
    process = subprocess.Popen([sys.executable, "-c", RUN], env=environment)
    try:
        wait(lambda: at_work(aws, before))
    finally:
        process.kill()
        process.wait()
    return newest(aws)


def sense(instance) -> str:
    repository = lake_definitions(Calendar(), Lake()).get_repository_def()
    context = dg.build_sensor_context(
        instance=instance, repository_def=repository, resources={"lake": Lake()}
    )
    sensor = repository.get_sensor_def("terminate_orphan_clusters")
    return str(sensor.evaluate_tick(context).skip_message)


def test_the_cluster_of_a_killed_run_is_terminated_by_the_sensor(aws, instance) -> None:
    cluster = killed_run(aws, instance, LAKE_ROWS_PER_DAY=str(LONG))
    assert cluster.cluster.state == "RUNNING"
    assert "every cluster belongs to a run at work" in sense(instance)
    run = instance.get_runs()[0]
    assert cluster.cluster.tags["dagster/run_id"] == run.run_id
    instance.report_run_failed(run)  # as run monitoring does once it finds the process gone
    assert f"`{cluster.cluster.id}` (run {run.run_id} is FAILURE)" in sense(instance)
    cluster.join(15)
    assert cluster.cluster.state == "TERMINATED"
    assert "every cluster belongs" in sense(instance)


def test_the_cluster_of_a_killed_run_ends_itself_once_it_is_idle(aws, instance) -> None:
    """Nobody is left: Dagster is gone as well."""
    import boto3

    cluster = killed_run(aws, instance, LAKE_ROWS_PER_DAY=str(LONG), LAKE_IDLE_TIMEOUT_SECONDS="1")
    (step,) = cluster.cluster.steps
    boto3.client("emr").cancel_steps(ClusterId=cluster.cluster.id, StepIds=[step.id])
    cluster.join(30)
    assert cluster.cluster.state == "TERMINATED"
    assert cluster.cluster.reason["Code"] == "AUTO_TERMINATION"


def test_the_cluster_of_a_run_that_died_with_its_dagster_is_terminated(aws, instance) -> None:
    """The run looks busy for ever: who would have noticed its death is gone too."""
    import boto3

    emr = boto3.client("emr")
    repository = lake_definitions(Calendar(), Lake()).get_repository_def()
    job = repository.get_job("lake_data_generation")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    allowed = Lake().silence_allowed
    clusters = {}
    for silent in (allowed - 30, allowed + 1):
        tags = {"dagster/run_id": run.run_id, "dagster/alive_at": str(int(time.time() - silent))}
        clusters[silent] = emr.run_job_flow(
            Name="silent",
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            Instances={"KeepJobFlowAliveWhenNoSteps": True},
        )["JobFlowId"]
    busy, dead = clusters.values()
    try:
        assert f"terminated `{dead}` (run {run.run_id} is silent since " in sense(instance)
        aws.emr.clusters[dead].join(15)
        assert aws.emr.clusters[dead].cluster.state == "TERMINATED"
        assert "every cluster belongs to a run at work" in sense(instance)
    finally:
        emr.terminate_job_flows(JobFlowIds=[busy])


def test_the_sensor_leaves_the_clusters_of_others_alone(aws, instance) -> None:
    import boto3

    emr = boto3.client("emr")
    request = {"Instances": {"KeepJobFlowAliveWhenNoSteps": True}}
    foreign = emr.run_job_flow(
        Name="foreign", Tags=[{"Key": "dagster/run_id", "Value": "of another instance"}], **request
    )["JobFlowId"]
    plain = emr.run_job_flow(Name="plain", **request)["JobFlowId"]
    try:
        assert "every cluster belongs" in sense(instance)
        assert emr.describe_cluster(ClusterId=foreign)["Cluster"]["Status"]["State"] != "TERMINATED"
    finally:
        emr.terminate_job_flows(JobFlowIds=[foreign, plain])


def test_the_sensor_outlives_a_moment_of_throttling(aws, instance) -> None:
    aws.emr.inject(Fault("ListClusters", "ThrottlingException", times=2))
    assert "every cluster belongs" in sense(instance)


def test_without_credentials_the_sensor_asks_nobody(instance, monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    assert sense(instance) == "no AWS credentials here, so no clusters"


class Page:
    """The GraphQL side of a running `kestra-dagster dev`."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def __call__(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = json.load(answer)
        assert "errors" not in data, data["errors"]
        return data["data"]


@pytest.fixture
def page(aws, tmp_path: Path) -> Iterator[Page]:
    """Start `kestra-dagster dev` for days far too large, with nothing starting by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "flows").mkdir()
    environment = {
        **os.environ,
        "LAKE_ROWS_PER_DAY": str(LONG),
        "LAKE_SCHEDULES": "stopped",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("DAGSTER_HOME", None)
    log = tmp_path / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kestra_dagster.cli", "dev", "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait(lambda: "Dagster UI:" in log.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()
        yield Page(port)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


LAUNCH = """
mutation($keys: [String!]!, $assets: [AssetKeyInput!]!) {
  launchPartitionBackfill(backfillParams: {partitionNames: $keys, assetSelection: $assets}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
TERMINATE = """
mutation($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } }
}"""


def test_a_backfill_of_30_days_from_the_ui_is_one_cluster_and_cancelling_it_ends_it(
    aws, page: Page
) -> None:
    before = len(aws.cluster_states())
    days = [f"2025-01-{day:02}" for day in range(1, 31)]
    assets = [{"path": [layer, table]} for layer in LAYERS for table in tables(layer)]
    launched = page(LAUNCH, keys=days, assets=assets)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    wait(lambda: at_work(aws, before), 120)
    live = newest(aws)
    assert len(aws.cluster_states()) == before + 1
    arguments = list(live.cluster.steps[0].arguments)
    assert arguments[arguments.index("--days") + 1].split(",") == days
    (run,) = page(RUNS)["runsOrError"]["results"]
    assert live.cluster.tags["dagster/run_id"] == run["runId"]
    answer = page(TERMINATE, run=run["runId"])["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    live.join(30)
    assert live.cluster.state == "TERMINATED"
    assert live.cluster.reason["Code"] == "USER_REQUEST"
    wait(lambda: page(RUNS)["runsOrError"]["results"][0]["status"] == "CANCELED")
