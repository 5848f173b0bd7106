"""The operations of the endpoint, each a function of the clusters and a JSON request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kestra_dagster.lake.local_emr import spark
from kestra_dagster.lake.local_emr.clusters import LiveCluster, new_id
from kestra_dagster.lake.local_emr.java import java_problem
from kestra_dagster.lake.local_emr.protocol import OVER, Cluster, ServiceError, Step, invalid

Request = Mapping[str, Any]
Answer = dict[str, Any]

_PAGE = 50


class Clusters:
    """All clusters of the endpoint by id, newest last."""

    def __init__(self, machine: spark.Machine, work: Path) -> None:
        self._machine = machine
        self._work = work
        self._clusters: dict[str, LiveCluster] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __getitem__(self, cluster_id: str) -> LiveCluster:
        live = self._clusters.get(cluster_id)
        if live is None:
            raise invalid(f"Cluster id '{cluster_id}' is not valid.")
        return live

    def newest_first(self) -> list[LiveCluster]:
        return list(self._clusters.values())[::-1]

    def start(self, cluster: Cluster) -> None:
        with self._lock:
            if self._closed:
                raise ServiceError("ServiceUnavailableException", "the endpoint is closing", 503)
            live = LiveCluster(cluster, self._machine, self._work)
            self._clusters[cluster.id] = live
        live.start()

    def close(self) -> None:
        """End every cluster and return when no Spark process is left."""
        with self._lock:
            self._closed = True
        for live in self.newest_first():
            live.terminate("INTERNAL_ERROR", "the local endpoint was stopped")
        for live in self.newest_first():
            live.join(timeout=10)


def run_job_flow(clusters: Clusters, request: Request) -> Answer:
    if problem := java_problem():
        raise invalid(problem)
    instances = request.get("Instances") or {}
    cluster = Cluster(
        id=new_id("j-"),
        name=_required(request, "Name"),
        request=request,
        tags=_tags(request.get("Tags", [])),
        keep_alive=bool(instances.get("KeepJobFlowAliveWhenNoSteps", False)),
        idle_timeout=_idle_timeout(request.get("AutoTerminationPolicy")),
        protected=bool(instances.get("TerminationProtected", False)),
        steps=[_step(item) for item in request.get("Steps", [])],
    )
    if cluster.log_uri:
        spark.local_path(Path("/"), cluster.log_uri)
    clusters.start(cluster)
    return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}


def add_job_flow_steps(clusters: Clusters, request: Request) -> Answer:
    steps = [_step(item) for item in _required(request, "Steps")]
    clusters[_required(request, "JobFlowId")].add(steps)
    return {"StepIds": [step.id for step in steps]}


def describe_cluster(clusters: Clusters, request: Request) -> Answer:
    live = clusters[_required(request, "ClusterId")]
    with live.lock:
        return {"Cluster": live.cluster.as_json()}


def describe_step(clusters: Clusters, request: Request) -> Answer:
    live = clusters[_required(request, "ClusterId")]
    with live.lock:
        for step in live.cluster.steps:
            if step.id == request.get("StepId"):
                return {"Step": step.as_json()}
    raise invalid(f"Step id '{request.get('StepId')}' is not valid.")


def list_steps(clusters: Clusters, request: Request) -> Answer:
    live = clusters[_required(request, "ClusterId")]
    states, ids = request.get("StepStates"), request.get("StepIds")
    with live.lock:
        found = [
            step.as_json()
            for step in reversed(live.cluster.steps)
            if (not states or step.state in states) and (not ids or step.id in ids)
        ]
    return _page("Steps", found, request)


def list_clusters(clusters: Clusters, request: Request) -> Answer:
    states = request.get("ClusterStates")
    after, before = request.get("CreatedAfter", 0), request.get("CreatedBefore", float("inf"))
    found = [
        live.cluster.summary()
        for live in clusters.newest_first()
        if (not states or live.cluster.state in states) and after <= live.cluster.created <= before
    ]
    return _page("Clusters", found, request)


def cancel_steps(clusters: Clusters, request: Request) -> Answer:
    answers = clusters[_required(request, "ClusterId")].cancel(list(_required(request, "StepIds")))
    infos = [
        {"StepId": step_id, "Status": answers.get(step_id, "FAILED"), "Reason": ""}
        for step_id in request["StepIds"]
    ]
    return {"CancelStepsInfoList": infos}


def terminate_job_flows(clusters: Clusters, request: Request) -> Answer:
    lives = [clusters[cluster_id] for cluster_id in _required(request, "JobFlowIds")]
    for live in lives:
        if live.cluster.protected and live.cluster.state not in OVER:
            raise ServiceError(
                "ValidationException",
                f"Could not shut down `{live.cluster.id}`: it is termination protected",
            )
    for live in lives:
        live.terminate()
    return {}


def put_auto_termination_policy(clusters: Clusters, request: Request) -> Answer:
    live = clusters[_required(request, "ClusterId")]
    with live.lock:
        live.cluster.idle_timeout = _idle_timeout(request.get("AutoTerminationPolicy"))
        live.lock.notify_all()
    return {}


def set_termination_protection(clusters: Clusters, request: Request) -> Answer:
    for cluster_id in _required(request, "JobFlowIds"):
        clusters[cluster_id].cluster.protected = bool(request.get("TerminationProtected"))
    return {}


def add_tags(clusters: Clusters, request: Request) -> Answer:
    live = clusters[_required(request, "ResourceId")]
    with live.lock:
        live.cluster.tags.update(_tags(_required(request, "Tags")))
    return {}


OPERATIONS: Mapping[str, Callable[[Clusters, Request], Answer]] = {
    "RunJobFlow": run_job_flow,
    "AddJobFlowSteps": add_job_flow_steps,
    "DescribeCluster": describe_cluster,
    "DescribeStep": describe_step,
    "ListSteps": list_steps,
    "ListClusters": list_clusters,
    "CancelSteps": cancel_steps,
    "TerminateJobFlows": terminate_job_flows,
    "PutAutoTerminationPolicy": put_auto_termination_policy,
    "SetTerminationProtection": set_termination_protection,
    "AddTags": add_tags,
}


def _required(request: Request, name: str) -> Any:
    value = request.get(name)
    if not value:
        raise ServiceError("ValidationException", f"`{name}` is required")
    return value


def _step(item: Request) -> Step:
    jar = item.get("HadoopJarStep") or {}
    if Path(jar.get("Jar", "")).name != "command-runner.jar":
        raise invalid(
            "the local EMR endpoint runs steps of `command-runner.jar` only, "
            f"not `{jar.get('Jar')}`"
        )
    arguments = [str(argument) for argument in jar.get("Args", [])]
    spark.check_step(arguments)
    return Step(
        id=new_id("s-"),
        name=_required(item, "Name"),
        arguments=arguments,
        action_on_failure=item.get("ActionOnFailure", "CONTINUE"),
    )


def _idle_timeout(policy: Request | None) -> float | None:
    return float(policy["IdleTimeout"]) if policy and policy.get("IdleTimeout") else None


def _tags(items: list[dict[str, str]]) -> dict[str, str]:
    return {item["Key"]: item.get("Value", "") for item in items}


def _page(name: str, found: list[Answer], request: Request) -> Answer:
    start = int(request.get("Marker") or 0)
    answer: Answer = {name: found[start : start + _PAGE]}
    if start + _PAGE < len(found):
        answer["Marker"] = str(start + _PAGE)
    return answer
