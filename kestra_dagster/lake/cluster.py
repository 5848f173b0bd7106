"""A cluster for the time of a `with` block: created, given steps, terminated whatever happens."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import RetryableError
from kestra_dagster.lake.aws import Calls, client
from kestra_dagster.lake.config import spark_properties
from kestra_dagster.lake.step_logs import StepFailed, explain_failure

if TYPE_CHECKING:
    from kestra_dagster.lake.config import Lake

Log = Callable[[str], object]
Sleep = Callable[[float], object]

ACTIVE = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
"""States of a cluster that costs money and is not on its way out."""

ALIVE_TAG = "dagster/alive_at"
"""When whoever works with the cluster last said so, in seconds since 1970."""

_OVER = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
_PATIENCE_TO_TERMINATE = 60.0
_SECONDS_BETWEEN_BEATS = 60.0


class ClusterLost(RetryableError):
    """The cluster ended before its steps did, or none could be had."""


def emr_calls(lake: Lake, log: Log, sleep: Sleep = time.sleep) -> Calls:
    """Return patient calls of EMR."""
    return Calls(
        lambda: client("emr", lake, attempts=1),
        patience=lake.api_patience_seconds,
        sleep=sleep,
        log=log,
    )


@contextlib.contextmanager
def emr_cluster(
    lake: Lake, name: str, tags: Mapping[str, str], log: Log, sleep: Sleep = time.sleep
) -> Iterator[Cluster]:
    """Create a cluster, yield it, and terminate it on the way out, also one half created.

    `sleep` is called while waiting; it may raise to cancel the work. What cannot be done here,
    because the process was killed, is left to the cluster's idle timeout and to the sensor that
    reads its tags: whose it is, and when that run last said that it is alive.
    """
    calls = emr_calls(lake, log, sleep)
    name = f"{name} {uuid.uuid4().hex[:12]}"
    since = time.time() - 300
    cluster_id: str | None = None
    try:
        answer = calls(
            "run_job_flow",
            recover=lambda: _created(calls, name, since),
            **job_flow(lake, name, tags),
        )
        cluster_id = str(answer["JobFlowId"])
        log(
            f"cluster `{cluster_id}` ({lake.release_label}) is starting, "
            f"logs in {lake.logs}/{cluster_id}/"
        )
        yield Cluster(cluster_id, lake, calls, log, sleep)
    finally:
        _terminate(calls.patient(_PATIENCE_TO_TERMINATE), cluster_id, name, since, log)


class Cluster:
    """A cluster at hand; steps run one after another."""

    def __init__(self, id: str, lake: Lake, calls: Calls, log: Log, sleep: Sleep) -> None:
        self.id = id
        self._lake = lake
        self._calls = calls
        self._log = log
        self._sleep = sleep

    def spark_submit(self, name: str, arguments: Sequence[str]) -> str:
        """Run `spark-submit` with these arguments as a step; return its id when it has COMPLETED.

        Raises StepFailed with the traceback of the Spark job, or ClusterLost.
        """
        name = f"{name} {uuid.uuid4().hex[:12]}"
        jar = {"Jar": "command-runner.jar", "Args": ["spark-submit", *arguments]}
        step = {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        answer = self._calls(
            "add_job_flow_steps",
            recover=lambda: self._added(name),
            JobFlowId=self.id,
            Steps=[step],
        )
        step_id = answer["StepIds"][0]
        self._log(f"step `{step_id}` ({name}) submitted")
        self._wait(step_id, name)
        return step_id

    def _wait(self, step_id: str, name: str) -> None:
        """Poll the step: often at first, then every fiftieth of the time that has passed."""
        began = time.monotonic()
        next_beat = began + _SECONDS_BETWEEN_BEATS
        state = ""
        while True:
            if time.monotonic() > next_beat:
                self._calls("add_tags", ResourceId=self.id, Tags=[_alive()])
                next_beat = time.monotonic() + _SECONDS_BETWEEN_BEATS
            answer = self._calls("describe_step", ClusterId=self.id, StepId=step_id)
            status = answer["Step"]["Status"]
            if status["State"] != state:
                state = status["State"]
                self._log(f"step `{step_id}` is {state} after {time.monotonic() - began:.1f} s")
            if state == "COMPLETED":
                return
            if state == "FAILED":
                raise self._failure(step_id, name, status.get("FailureDetails", {}))
            if state in {"CANCELLED", "INTERRUPTED"}:
                raise ClusterLost(self._what_became(step_id, state))
            pause = (time.monotonic() - began) / 50
            self._sleep(min(max(pause, 0.25), self._lake.max_poll_seconds))

    def _failure(self, step_id: str, name: str, details: Mapping[str, str]) -> StepFailed:
        s3 = Calls(lambda: client("s3", self._lake), patience=30, sleep=self._sleep)
        folder = f"{self._lake.logs}/{self.id}/steps/{step_id}"
        message = details.get("Message") or details.get("Reason", "")
        self._log(f"step `{step_id}` failed ({message}); reading its logs in {folder}/")
        return explain_failure(s3, folder, name, message, self._lake.log_wait_seconds, self._sleep)

    def _what_became(self, step_id: str, state: str) -> str:
        cluster = self._calls("describe_cluster", ClusterId=self.id)["Cluster"]
        reason = cluster["Status"].get("StateChangeReason", {})
        return (
            f"step `{step_id}` was {state}: cluster `{self.id}` is {cluster['Status']['State']}, "
            f"{reason.get('Code', 'no reason')}: {reason.get('Message', '')}"
        )

    def _added(self, name: str) -> dict[str, Any] | None:
        """Find a step whose submission was not answered, so that it is not submitted twice."""
        steps = self._calls("list_steps", ClusterId=self.id)["Steps"]
        ids = [step["Id"] for step in steps if step["Name"] == name]
        return {"StepIds": ids} if ids else None


def job_flow(lake: Lake, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the RunJobFlow request of a cluster that waits for steps."""
    fleets = [_fleet(lake, "MASTER", 1)]
    if lake.core_instances:
        fleets.append(_fleet(lake, "CORE", lake.core_instances))
    instances: dict[str, Any] = {
        "InstanceFleets": fleets,
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    }
    if lake.subnet_ids:
        instances["Ec2SubnetIds"] = lake.subnet_ids
    if lake.key_name:
        instances["Ec2KeyName"] = lake.key_name
    return {
        "Name": name,
        "LogUri": f"{lake.logs}/",
        "ReleaseLabel": lake.release_label,
        "Applications": [{"Name": "Spark"}],
        "Instances": instances,
        "BootstrapActions": [
            {"Name": uri.rsplit("/", 1)[-1], "ScriptBootstrapAction": {"Path": uri}}
            for uri in lake.bootstrap
        ],
        "Configurations": [
            {"Classification": "spark-defaults", "Properties": spark_properties(lake)}
        ],
        "ServiceRole": lake.service_role,
        "JobFlowRole": lake.instance_role,
        "VisibleToAllUsers": True,
        "AutoTerminationPolicy": {"IdleTimeout": lake.idle_timeout_seconds},
        "Tags": [
            *({"Key": key, "Value": value} for key, value in {**lake.tags, **tags}.items()),
            _alive(),
        ],
    }


def _alive() -> dict[str, str]:
    return {"Key": ALIVE_TAG, "Value": str(int(time.time()))}


def _fleet(lake: Lake, kind: str, capacity: int) -> dict[str, Any]:
    return {
        "Name": kind.lower(),
        "InstanceFleetType": kind,
        "TargetOnDemandCapacity": capacity,
        "InstanceTypeConfigs": [{"InstanceType": name} for name in lake.instance_types],
    }


def active_clusters(calls: Calls) -> Iterator[dict[str, Any]]:
    """Yield the summaries of all clusters that are not on their way out."""
    marker: dict[str, Any] = {}
    while True:
        answer = calls("list_clusters", ClusterStates=list(ACTIVE), **marker)
        yield from answer["Clusters"]
        if not answer.get("Marker"):
            return
        marker = {"Marker": answer["Marker"]}


def _created(calls: Calls, name: str, since: float) -> dict[str, Any] | None:
    """Find a cluster whose creation was not answered, so that none is made twice or forgotten."""
    answer = calls("list_clusters", CreatedAfter=since, ClusterStates=list(ACTIVE))
    for cluster in answer["Clusters"]:
        if cluster["Name"] == name:
            return {"JobFlowId": cluster["Id"]}
    return None


def _terminate(calls: Calls, cluster_id: str | None, name: str, since: float, log: Log) -> None:
    """Terminate, or say why not: the error that led here must not be hidden by another."""
    try:
        if cluster_id is None:
            cluster_id = (_created(calls, name, since) or {}).get("JobFlowId")
            if cluster_id is None:
                return
        calls("terminate_job_flows", JobFlowIds=[cluster_id])
        deadline = time.monotonic() + 10
        while True:
            answer = calls("describe_cluster", ClusterId=cluster_id)
            state = answer["Cluster"]["Status"]["State"]
            if state in _OVER or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        log(f"cluster `{cluster_id}` is {state}")
    except Exception as error:
        log(
            f"cluster `{cluster_id or name}` could not be terminated ({error}): its idle timeout "
            "and the sensor `terminate_orphan_clusters` will"
        )
