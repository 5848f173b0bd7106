"""A cluster never outlives its `with` block, whatever goes wrong inside or around it."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from kestra_dagster.errors import Cancelled
from kestra_dagster.lake.cluster import ClusterLost, emr_cluster, job_flow
from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.local_emr.server import Fault
from kestra_dagster.lake.step_logs import StepFailed
from kestra_dagster.runtime.cancellation import CancelToken

pytestmark = pytest.mark.whole

TRIVIAL = b"""
import pyspark
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(100).write.parquet("s3://builditall/scratch/numbers")
count = spark.read.parquet("s3://builditall/scratch/numbers").count()
print(count, spark.conf.get("spark.sql.shuffle.partitions"))
print(pyspark.__file__)
"""
BROKEN = b"""
def divide(a, b):
    return a / b

print("about to fail")
divide(1, 0)
"""
SLOW = b"import time; time.sleep(600)"
QUICK = b"print('done')"


class Said(list[str]):
    """A log that tests read."""

    def __call__(self, message: str) -> None:
        self.append(message)


def spark_processes(marker: str) -> list[str]:
    listing = subprocess.run(
        ["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True
    )
    return [
        line for line in listing.stdout.splitlines() if marker in line and "ps -eww" not in line
    ]


def terminated_while(aws, cluster, work) -> None:
    threading.Timer(1, aws.emr.clusters[cluster.id].terminate).start()
    work()


def ended(aws, cluster_id: str) -> str:
    live = aws.emr.clusters[cluster_id]
    live.join(10)
    return live.cluster.state


def test_a_step_reads_and_writes_the_bucket(aws, lake: Lake) -> None:
    script = aws.put("code/trivial.py", TRIVIAL)
    said = Said()
    lake = lake.model_copy(update={"spark": {"spark.sql.shuffle.partitions": "3"}})
    with emr_cluster(lake, "trivial", {"dagster/run_id": "r1"}, said) as cluster:
        step = cluster.spark_submit(
            "numbers", ["--deploy-mode", "client", "--executor-memory", "64g", script]
        )
    assert ended(aws, cluster.id) == "TERMINATED"
    written = list((aws.root / "builditall/scratch/numbers").iterdir())
    assert any(path.suffix == ".parquet" for path in written)
    assert not any(path.name.endswith(".crc") for path in written)
    logs = aws.root / f"builditall/builditall-logs/emr/{cluster.id}/steps/{step}"
    text = subprocess.run(["zcat", logs / "stdout.gz"], capture_output=True, text=True, check=True)
    *printed, package = text.stdout.split()
    assert printed == ["100", "3"]
    assert ".zip" not in package, "Python compiles what it reads from a zip, in each step"
    assert any("COMPLETED" in line for line in said)


def test_whoever_waits_for_a_step_says_that_it_is_alive(aws, lake: Lake, monkeypatch) -> None:
    monkeypatch.setattr("kestra_dagster.lake.cluster._SECONDS_BETWEEN_BEATS", 0.0)
    script = aws.put("code/alive.py", QUICK)
    with emr_cluster(lake, "alive", {"dagster/run_id": "r1"}, Said()) as cluster:
        tags = aws.emr.clusters[cluster.id].cluster.tags
        tags["dagster/alive_at"] = "0"
        cluster.spark_submit("quick", [script])
        assert abs(time.time() - float(tags["dagster/alive_at"])) < 60
        assert tags["dagster/run_id"] == "r1"


def test_a_failing_step_shows_the_traceback_of_the_job(aws, lake: Lake) -> None:
    script = aws.put("code/broken.py", BROKEN)
    with pytest.raises(StepFailed) as caught, emr_cluster(lake, "broken", {}, Said()) as cluster:
        cluster.spark_submit("divide", [script])
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert "divide(1, 0)" in caught.value.traceback
    assert caught.value.logs.startswith(
        f"s3://builditall/builditall-logs/emr/{cluster.id}/steps/s-"
    )
    assert ended(aws, cluster.id) == "TERMINATED"


def test_a_script_that_is_not_there_says_so(aws, lake: Lake) -> None:
    with (
        pytest.raises(StepFailed, match=r"missing\.py"),
        emr_cluster(lake, "x", {}, Said()) as cluster,
    ):
        cluster.spark_submit("missing", ["s3://builditall/code/missing.py"])
    assert ended(aws, cluster.id) == "TERMINATED"


def test_cancelling_kills_the_spark_processes(aws, lake: Lake) -> None:
    script = aws.put("code/slow-cancel.py", SLOW)
    token = CancelToken()
    said = Said()

    def cancel_when_running() -> None:
        while not spark_processes("slow-cancel.py"):
            time.sleep(0.1)
        token.cancel("stopped from the UI")

    threading.Thread(target=cancel_when_running, daemon=True).start()
    with pytest.raises(Cancelled), emr_cluster(lake, "x", {}, said, token.sleep) as cluster:
        cluster.spark_submit("slow", [script])
    assert ended(aws, cluster.id) == "TERMINATED"
    assert spark_processes("slow-cancel.py") == []


def test_a_cluster_terminated_by_someone_else_is_lost(aws, lake: Lake) -> None:
    script = aws.put("code/slow-lost.py", SLOW)
    with (
        pytest.raises(ClusterLost, match="USER_REQUEST"),
        emr_cluster(lake, "x", {}, Said()) as cluster,
    ):
        terminated_while(aws, cluster, lambda: cluster.spark_submit("slow", [script]))
    assert ended(aws, cluster.id) == "TERMINATED"


FAULTS = [
    Fault("RunJobFlow"),
    Fault("RunJobFlow", "InternalServerException", 500, applied=True),
    Fault("AddJobFlowSteps", "InternalServerException", 503, applied=True),
    Fault("DescribeStep", "ThrottlingException", times=3),
    Fault("DescribeStep", "ExpiredTokenException", 403, times=2),
    Fault("TerminateJobFlows", "InternalFailure", 500, times=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.operation}-{fault.code}")
def test_passing_api_errors_neither_fail_the_job_nor_leak_or_double_anything(
    aws, lake: Lake, fault: Fault
) -> None:
    script = aws.put("code/quick.py", QUICK)
    before = len(aws.cluster_states())
    aws.emr.inject(Fault(**vars(fault)))
    with emr_cluster(lake, "faulty", {}, Said()) as cluster:
        cluster.spark_submit("quick", [script])
        assert len(aws.emr.clusters[cluster.id].cluster.steps) == 1
    assert ended(aws, cluster.id) == "TERMINATED"
    assert len(aws.cluster_states()) == before + 1


def test_a_cluster_whose_creation_was_never_answered_is_found_and_terminated(
    aws, lake: Lake
) -> None:
    """RunJobFlow takes effect, its answer is lost, and there is no patience to try again."""
    lake = lake.model_copy(update={"api_patience_seconds": 0.1})
    aws.emr.inject(Fault("RunJobFlow", "InternalServerException", 500, applied=True))
    with pytest.raises(Exception, match="took effect"), emr_cluster(lake, "lost", {}, Said()):
        pytest.fail("the block must not run")
    newest = aws.emr.clusters.newest_first()[0].cluster
    assert newest.name.startswith("lost ")
    assert ended(aws, newest.id) == "TERMINATED"


def test_lasting_api_errors_leave_the_cluster_to_its_idle_timeout(
    aws, lake: Lake, monkeypatch
) -> None:
    """What a process killed by SIGKILL leaves behind as well: nobody calls TerminateJobFlows."""
    monkeypatch.setattr("kestra_dagster.lake.cluster._PATIENCE_TO_TERMINATE", 0.5)
    lake = lake.model_copy(update={"idle_timeout_seconds": 2})
    said = Said()
    fault = Fault("TerminateJobFlows", "ExpiredTokenException", 403, times=50)
    aws.emr.inject(fault)
    try:
        with emr_cluster(lake, "idle", {}, said) as cluster:
            pass
    finally:
        fault.times = 0
    assert "could not be terminated" in said[-1]
    assert ended(aws, cluster.id) == "TERMINATED"
    assert aws.emr.clusters[cluster.id].cluster.reason["Code"] == "AUTO_TERMINATION"


def test_every_cluster_carries_its_idle_timeout_and_tags() -> None:
    request = job_flow(
        Lake(tags={"team": "data"}, subnet_ids=["s-1", "s-2"]), "n", {"dagster/job": "j"}
    )
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 300}
    assert {"Key": "dagster/job", "Value": "j"} in request["Tags"]
    assert {"Key": "team", "Value": "data"} in request["Tags"]
    assert request["Instances"]["Ec2SubnetIds"] == ["s-1", "s-2"]
    assert request["LogUri"] == "s3://builditall/builditall-logs/emr/"
    assert os.path.basename(request["Configurations"][0]["Classification"]) == "spark-defaults"
