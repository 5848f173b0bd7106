"""A pod of one's own: made, fed with files, its log followed, its files fetched, deleted."""

from __future__ import annotations

import random
import re
import string
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.errors import Cancelled, TaskFailed
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.working_files import store_output_files, write_input_files
from kestra_dagster.tasks.kubernetes_cluster import Cluster, Kind, KubernetesSpec, NotThere, told
from kestra_dagster.tasks.kubernetes_files import FILES, fetch_files, put_files, say
from kestra_dagster.tasks.script_lines import ScriptLines

_PODS = Kind("/api/v1", "pods", True)
_BEFORE, _AFTER = "init-files", "out-files"
"""The containers that wait for files to come, and to be fetched."""
_VOLUME = {"name": "kestra-files", "mountPath": "/kestra"}
_LOOK_SECONDS = 1.0
_BY_NAME = ("volumeMounts", "env")


class SideCar(Part):
    """The container that carries files."""

    image: Text = "busybox"
    resources: dict[str, Any] | None = None
    default_spec: dict[str, Any] | None = None


class PodCreate(KubernetesSpec):
    """Run a pod, log what its containers say, and delete it."""

    ignored: ClassVar[Mapping[str, str]] = {
        "waitForLogInterval": "the logs of the containers are read to their end",
    }

    metadata: Dynamic[dict[str, Any]] | None = None
    spec: Dynamic[dict[str, Any]]
    input_files: Dynamic[str | dict[str, Any]] | None = None
    output_files: Dynamic[list[Text]] | None = None
    file_sidecar: Dynamic[SideCar] = SideCar()
    container_default_spec: Dynamic[dict[str, Any]] = Field(default_factory=dict)
    delete: Dynamic[bool] = True
    resume: Dynamic[bool] = True
    wait_until_running: Dynamic[Duration] = timedelta(minutes=10)
    wait_running: Dynamic[Duration] = timedelta(hours=1)

    def own_variables(self, context: TaskContext) -> Mapping[str, Any]:
        names = self.output_files if isinstance(self.output_files, list) else ()
        return {"workingDir": FILES, "outputFiles": {name: f"{FILES}/{name}" for name in names}}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        lines = ScriptLines(context)
        with self.cluster(context) as cluster:
            pod = self._known(cluster, context) or self._made(cluster, context)
            name = pod["metadata"]["name"]
            url = _PODS.url(self.namespace, name)
            try:
                ended = self._followed(cluster, name, context, lines)
                stored = self._fetched(cluster, name, context)
                outputs = {
                    "metadata": told(ended),
                    "status": ended["status"],
                    "outputFiles": stored,
                    "vars": lines.vars,
                }
                _check(ended, outputs)
                return outputs
            finally:
                cancelled = context.cancel.cancelled
                if self.delete or cancelled:
                    cluster.delete(url, **({"gracePeriodSeconds": 0} if cancelled else {}))
                    context.log.info(f"Pod '{name}' is deleted")

    def _known(self, cluster: Cluster, context: TaskContext) -> Any:
        """Return the pod that this attempt made before its worker was lost."""
        if not self.resume:
            return None
        labels = _labels(context)
        own = ("kestra.io/taskrun-id", "kestra.io/taskrun-attempt")
        asked = ",".join(f"{label}={labels[label]}" for label in own)
        found = cluster.ask("GET", _PODS.url(self.namespace), labelSelector=asked)["items"]
        if len(found) != 1:
            return None
        context.log.info(f"Pod '{found[0]['metadata']['name']}' is resumed")
        return found[0]

    def _made(self, cluster: Cluster, context: TaskContext) -> Any:
        metadata = dict(self.metadata or {})
        metadata["labels"] = {**_labels(context), **metadata.get("labels", {})}
        metadata.setdefault("name", _name(context))
        wanted = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": self._whole_spec(),
        }
        pod = cluster.ask("POST", _PODS.url(self.namespace), wanted)
        context.log.info(f"Pod '{metadata['name']}' is created")
        if self.input_files:
            files = write_input_files(self.input_files, context)
            self._until(cluster, metadata["name"], _started(_BEFORE), context)
            place = (cluster, self.namespace, metadata["name"], _BEFORE)
            put_files(*place, files, context)
        return pod

    def _whole_spec(self) -> dict[str, Any]:
        """Return the spec with what carries files, and what all containers have in common."""
        spec = dict(self.spec)
        common = self.container_default_spec
        mine = self.file_sidecar.default_spec or common
        containers = [merged(common, each) for each in spec.get("containers", ())]
        before = [merged(common, each) for each in spec.get("initContainers", ())]
        if not self.input_files and not self.output_files:
            return {**spec, "containers": containers, "initContainers": before}
        spec["volumes"] = [*spec.get("volumes", ()), {"name": _VOLUME["name"], "emptyDir": {}}]
        mount = {"volumeMounts": [_VOLUME]}
        containers = [merged(mount, each) for each in containers]
        before = [merged(mount, each) for each in before]
        for name, marker, where in ((_BEFORE, "ready", before), (_AFTER, "ended", containers)):
            if self.input_files if name == _BEFORE else self.output_files:
                wait = f"mkdir -p {FILES}; while [ ! -f /kestra/{marker} ]; do sleep 0.5; done"
                carrier = {
                    "name": name,
                    "image": self.file_sidecar.image,
                    "command": ["sh", "-c", wait],
                    **mount,
                }
                if self.file_sidecar.resources:
                    carrier["resources"] = self.file_sidecar.resources
                where.insert(0 if name == _BEFORE else len(where), merged(mine, carrier))
        return {**spec, "containers": containers, "initContainers": before}

    def _followed(
        self, cluster: Cluster, name: str, context: TaskContext, lines: ScriptLines
    ) -> Any:
        """Log what the containers say until they have ended, and return the pod as it is then."""
        pod = self._until(cluster, name, _runs, context)
        names = [each["name"] for each in pod["spec"]["containers"] if each["name"] != _AFTER]
        stop = threading.Event()
        from urllib3.exceptions import HTTPError

        def follow(container: str) -> None:
            try:
                self._log(cluster, name, container, context, lines, stop)
            except (TaskFailed, Cancelled, HTTPError) as error:
                if not stop.is_set():
                    context.log.warn(f"the log of `{container}` ends too early: {error}")

        # Daemons: nobody waits for the log of a pod that takes too long.
        logs = [threading.Thread(target=follow, args=(each,), daemon=True) for each in names]
        for log in logs:
            log.start()
        try:
            ended = self._until(cluster, name, _over, context, self.wait_running)
        except BaseException:
            stop.set()
            raise
        for log in logs:
            log.join()
        return ended

    def _log(
        self,
        cluster: Cluster,
        name: str,
        container: str,
        context: TaskContext,
        lines: ScriptLines,
        stop: threading.Event,
    ) -> None:
        self._until(cluster, name, _began(container), context)
        url = f"{_PODS.url(self.namespace, name)}/log"
        answer = cluster.open("GET", url, container=container, follow="true")
        pending = b""
        with answer:
            for chunk in answer.stream(1 << 16):
                if stop.is_set():
                    return
                *whole, pending = (pending + chunk).split(b"\n")
                for line in whole:
                    lines.take(line.decode(errors="replace"), "stdout")
        if pending:
            lines.take(pending.decode(errors="replace"), "stdout")

    def _fetched(self, cluster: Cluster, name: str, context: TaskContext) -> dict[str, str]:
        if not self.output_files:
            return {}
        fetch_files(cluster, self.namespace, name, _AFTER, context)
        say(cluster, self.namespace, name, _AFTER, "ended")
        return store_output_files(self.output_files, context)

    def _until(
        self,
        cluster: Cluster,
        name: str,
        wanted: Any,
        context: TaskContext,
        most: timedelta | None = None,
    ) -> Any:
        """Look until the pod is as wanted, and return it; raise TaskFailed where it takes long."""
        limit = (self.wait_until_running if most is None else most).total_seconds()
        end = time.monotonic() + limit
        while True:
            try:
                pod = cluster.ask("GET", _PODS.url(self.namespace, name))
            except NotThere as error:
                raise TaskFailed(f"the pod `{name}` was deleted by somebody") from error
            if wanted(pod):
                return pod
            if time.monotonic() > end:
                held = "waitUntilRunning" if most is None else "waitRunning"
                raise TaskFailed(
                    f"the pod `{name}` is still {pod['status'].get('phase')} after {limit:g} s",
                    hint=f"raise `{held}`, or look at the pod's events",
                )
            context.cancel.sleep(_LOOK_SECONDS)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put a container over what it has in common with others; mounts and variables are joined."""
    found = dict(base)
    for key, value in over.items():
        if key in _BY_NAME:
            names = {each["name"] for each in value} if key == "env" else set()
            common = [each for each in base.get(key, ()) if each["name"] not in names]
            found[key] = [*common, *value]
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            found[key] = merged(base[key], value)
        else:
            found[key] = value
    return found


def _labels(context: TaskContext) -> dict[str, str]:
    known = context.variables
    run = known.get("taskrun") or {}
    found = {
        "namespace": (known.get("flow") or {}).get("namespace"),
        "flow-id": (known.get("flow") or {}).get("id"),
        "task-id": (known.get("task") or {}).get("id"),
        "execution-id": (known.get("execution") or {}).get("id"),
        "taskrun-id": run.get("id"),
        "taskrun-attempt": run.get("attemptsCount", 0),
    }
    return {f"kestra.io/{name}": _label(str(value or "0")) for name, value in found.items()}


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("._-")


def _name(context: TaskContext) -> str:
    flow, task = context.variables.get("flow") or {}, context.variables.get("task") or {}
    words = "-".join(str(each) for each in (flow.get("namespace"), flow.get("id"), task.get("id")))
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:50].strip("-")
    return f"{slug}-{''.join(random.choices(string.ascii_lowercase + string.digits, k=8))}"


def _states(pod: Mapping[str, Any], key: str = "containerStatuses") -> Iterable[Mapping[str, Any]]:
    return (pod.get("status") or {}).get(key) or ()


def _phase(pod: Mapping[str, Any]) -> str:
    return (pod.get("status") or {}).get("phase") or "Pending"


def _started(container: str) -> Any:
    def wanted(pod: Mapping[str, Any]) -> bool:
        found = [one for one in _states(pod, "initContainerStatuses") if one["name"] == container]
        return _phase(pod) == "Failed" or any("running" in one["state"] for one in found)

    return wanted


def _began(container: str) -> Any:
    def wanted(pod: Mapping[str, Any]) -> bool:
        mine = [one["state"] for one in _states(pod) if one["name"] == container]
        begun = any("running" in state or "terminated" in state for state in mine)
        return begun or _phase(pod) in ("Succeeded", "Failed")

    return wanted


def _runs(pod: Mapping[str, Any]) -> bool:
    return _phase(pod) in ("Running", "Succeeded", "Failed")


def _over(pod: Mapping[str, Any]) -> bool:
    mine = [one for one in _states(pod) if one["name"] != _AFTER]
    done = bool(mine) and all("terminated" in one["state"] for one in mine)
    return _phase(pod) in ("Succeeded", "Failed") or (done and len(mine) < len(list(_states(pod))))


def _check(pod: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Raise TaskFailed if a container of the pod failed."""
    for one in _states(pod):
        ended = one["state"].get("terminated")
        if one["name"] != _AFTER and ended and ended.get("exitCode"):
            why = ended.get("message") or ended.get("reason") or ""
            raise TaskFailed(
                f"the container `{one['name']}` ended with exit code {ended['exitCode']}: {why}",
                outputs=outputs,
            )
    if _phase(pod) == "Failed":
        why = pod["status"].get("message") or pod["status"].get("reason") or "no reason is given"
        raise TaskFailed(f"the pod failed: {why}", outputs=outputs)
