"""EMR tasks against the local endpoint, which truly keeps clusters and runs steps."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kestra_dagster.errors import Cancelled, TaskFailed
from kestra_dagster.lake.local_emr.java import java_problem
from kestra_dagster.lake.local_emr.server import EmrEndpoint
from kestra_dagster.lake.local_emr.spark import Machine
from kestra_dagster.tasks.aws_emr import (
    CreateClusterAndSubmitSteps,
    DeleteCluster,
    Step,
    SubmitSteps,
)

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(java_problem() is not None, reason=str(java_problem())),
]

KEYS = secrets.token_hex(8), secrets.token_hex(16)


@pytest.fixture
def emr(tmp_path: Path) -> Iterator[EmrEndpoint]:
    (tmp_path / "lake" / "bucket").mkdir(parents=True)
    with EmrEndpoint(Machine(tmp_path / "lake"), tmp_path / "work", *KEYS) as endpoint:
        yield endpoint


@pytest.fixture
def connection(emr: EmrEndpoint) -> dict[str, str]:
    return {
        "endpointOverride": emr.url,
        "accessKeyId": KEYS[0],
        "secretKeyId": KEYS[1],
        "region": "eu-west-1",
    }


@pytest.fixture
def cluster(connection: dict[str, str]) -> dict[str, Any]:
    return {
        **connection,
        "clusterName": "a cluster",
        "masterInstanceType": "m6g.xlarge",
        "slaveInstanceType": "m6g.xlarge",
        "instanceCount": 3,
        "applications": ["Spark"],
        "completionCheckInterval": "PT0.1S",
    }


def step(script: Path, **more: str) -> dict[str, Any]:
    return {
        "name": "a step",
        "jar": "command-runner.jar",
        "actionOnFailure": "CONTINUE",
        "commands": ["spark-submit --deploy-mode client", f"{script}  --day 2025-01-01"],
        **more,
    }


def test_commands_are_split_at_blanks() -> None:
    request = Step.model_validate(step(Path("s.py"))).request()
    assert request["HadoopJarStep"]["Args"] == [
        "spark-submit",
        "--deploy-mode",
        "client",
        "s.py",
        "--day",
        "2025-01-01",
    ]


def test_a_cluster_lives_and_dies_by_the_three_tasks(
    emr, connection, cluster, context, tmp_path: Path
) -> None:
    script = tmp_path / "job.py"
    script.write_text("import sys; open(sys.argv[2], 'w').close()")
    made = context.run(
        CreateClusterAndSubmitSteps,
        {**cluster, "keepJobFlowAliveWhenNoSteps": True, "wait": True},
    )
    live = emr.clusters[made["jobFlowId"]]
    assert live.cluster.state == "WAITING"
    assert live.cluster.request["Instances"]["InstanceCount"] == 3
    assert live.cluster.request["ReleaseLabel"] == "emr-5.20.0"
    submitted = {**connection, "clusterId": made["jobFlowId"], "steps": [step(script)]}
    assert context.run(SubmitSteps, submitted) is None
    assert [item.name for item in live.cluster.steps] == ["a step"]
    context.run(DeleteCluster, {**connection, "clusterIds": [made["jobFlowId"]]})
    live.join(10)
    assert live.cluster.state == "TERMINATED"


def test_without_wait_the_task_does_not_wait(emr, cluster, context) -> None:
    made = context.run(CreateClusterAndSubmitSteps, cluster)
    assert made["jobFlowId"].startswith("j-")


def test_a_failed_step_is_a_warning_and_the_task_succeeds_as_in_kestra(
    emr, cluster, context, tmp_path: Path
) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    steps = [step(script, actionOnFailure="TERMINATE_CLUSTER")]
    made = context.run(CreateClusterAndSubmitSteps, {**cluster, "steps": steps, "wait": True})
    assert emr.clusters[made["jobFlowId"]].cluster.state == "TERMINATED_WITH_ERRORS"
    assert context.log.messages("INFO")[-1].endswith("TERMINATED_WITH_ERRORS")
    assert "Step `a step` is FAILED" in context.log.messages("WARN")[0]


def test_waiting_ends_at_its_time_and_when_cancelled(emr, cluster, context, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text("import time; time.sleep(600)")
    waiting = {**cluster, "steps": [step(script)], "wait": True}
    with pytest.raises(TaskFailed, match="is still RUNNING after"):
        context.run(CreateClusterAndSubmitSteps, {**waiting, "waitUntilCompletion": "PT0.2S"})
    context.cancel.cancel()
    with pytest.raises(Cancelled):
        context.run(CreateClusterAndSubmitSteps, waiting)


def test_what_emr_refuses_fails_the_task_in_its_words(emr, connection, context) -> None:
    with pytest.raises(TaskFailed, match=r"j-NONE.*is not valid"):
        context.run(DeleteCluster, {**connection, "clusterIds": ["j-NONE"]})


@pytest.mark.parametrize("missing", ["clusterName", "masterInstanceType", "instanceCount"])
def test_required_properties(cluster, context, missing: str) -> None:
    cluster.pop(missing)
    with pytest.raises(ValidationError, match=missing):
        context.run(CreateClusterAndSubmitSteps, cluster)
