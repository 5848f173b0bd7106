"""Objects of a cluster, as `kubectl` has them: applied, read, changed, restarted, deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

import yaml

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.flowables import NamespaceFiles
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.kubernetes_cluster import KubernetesSpec, NotThere, told

_PATCHES: Mapping[str, str] = {
    "STRATEGIC_MERGE": "application/strategic-merge-patch+json",
    "JSON_MERGE": "application/merge-patch+json",
    "JSON_PATCH": "application/json-patch+json",
}
_WHO = "kestra"


class Apply(KubernetesSpec):
    """Make the objects of a manifest, or change those that are there to be like it."""

    spec: Dynamic[Text | dict[str, Any]]
    namespace_files: Dynamic[NamespaceFiles] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from kestra_dagster.runtime.namespace_folder import write_namespace_files

        if self.namespace_files:
            write_namespace_files(self.namespace_files, context)
        applied = []
        with self.cluster(context) as cluster:
            for one in self._objects():
                context.cancel.check()
                group, _, version = one["apiVersion"].rpartition("/")
                kind = cluster.kind(one["kind"], group or "", version)
                name = one["metadata"]["name"]
                space = one["metadata"].get("namespace") or self.namespace
                body = json.dumps(one, default=str)
                content = "application/apply-patch+yaml"
                url = kind.url(space, name)
                found = cluster.patch(url, body, content, fieldManager=_WHO)
                context.log.info(f"Applied {one['kind']} `{name}`")
                if self.wait_until_ready:
                    found = self.model_copy(update={"namespace": space}).ready(
                        cluster, kind, name, context
                    )
                applied.append(told(found))
        return {"metadata": applied}

    def _objects(self) -> list[dict[str, Any]]:
        try:
            read = (
                list(yaml.safe_load_all(self.spec)) if isinstance(self.spec, str) else [self.spec]
            )
        except yaml.YAMLError as error:
            raise TaskMisconfigured(f"`spec` is not YAML: {error}") from error
        found = [
            one for each in read if each for one in (each["items"] if _is_list(each) else [each])
        ]
        for one in found:
            whole = isinstance(one, dict) and one.get("apiVersion") and one.get("kind")
            if not whole or not (one.get("metadata") or {}).get("name"):
                raise TaskMisconfigured(
                    "an object of `spec` lacks `apiVersion`, `kind` or `metadata.name`"
                )
        return found


class _Kind(KubernetesSpec):
    """A task about a kind of objects."""

    resource_type: Dynamic[Text]
    api_group: Dynamic[Text] | None = None
    api_version: Dynamic[Text] | None = None


class Get(_Kind):
    """Read the objects of a kind, all or those of some names."""

    resources_names: Dynamic[list[Text]] | None = None
    fetch_type: Dynamic[FetchType] = "NONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.cluster(context) as cluster:
            kind = cluster.kind(self.resource_type, self.api_group, self.api_version)
            if self.resources_names:
                found = []
                for name in self.resources_names:
                    try:
                        found.append(self.ready(cluster, kind, name, context))
                    except NotThere:
                        context.log.warn(f"there is no {self.resource_type} `{name}`")
            else:
                found = cluster.ask("GET", kind.url(self.namespace))["items"]
        items = [{"metadata": told(one), "status": _status(one)} for one in found]
        kept = self.fetch_type != "NONE"
        context.metric("fetch.size", len(items) if kept else 0)
        if self.fetch_type == "NONE":
            return {}
        if self.fetch_type == "STORE":
            stored = fetched(items, "STORE", context)
            return {"uri": stored["uri"], "size": stored["size"]}
        if self.fetch_type == "FETCH_ONE":
            first = items[0] if items else {"metadata": None, "status": None}
            one = {"metadataItem": first["metadata"], "statusItem": first["status"]}
            return {**one, "size": len(items)}
        return {
            "metadataItems": [one["metadata"] for one in items],
            "statusItems": [one["status"] for one in items],
            "size": len(items),
        }


class Delete(_Kind):
    """Delete objects of a kind; those that are not there are told in the log."""

    resources_names: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        with self.cluster(context) as cluster:
            kind = cluster.kind(self.resource_type, self.api_group, self.api_version)
            for name in self.resources_names:
                context.cancel.check()
                if not cluster.delete(kind.url(self.namespace, name)):
                    context.log.warn(f"there is no {self.resource_type} `{name}`")


class Patch(_Kind):
    """Change an object."""

    resource_name: Dynamic[Text]
    patch: Dynamic[Text | dict[str, Any] | list[Any]]
    patch_strategy: Dynamic[Literal["STRATEGIC_MERGE", "JSON_MERGE", "JSON_PATCH"]] = (
        "STRATEGIC_MERGE"
    )

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = self.patch if isinstance(self.patch, str) else json.dumps(self.patch)
        with self.cluster(context) as cluster:
            kind = cluster.kind(self.resource_type, self.api_group, self.api_version)
            url = kind.url(self.namespace, self.resource_name)
            content = _PATCHES[self.patch_strategy]
            found = cluster.patch(url, body, content, fieldManager=_WHO)
            if self.wait_until_ready:
                found = self.ready(cluster, kind, self.resource_name, context)
        return {"metadata": told(found), "status": _status(found)}


class Restart(KubernetesSpec):
    """Have the pods of workloads replaced one after another, without waiting for it."""

    resource_type: Dynamic[Literal["Deployment", "StatefulSet", "DaemonSet"]]
    resources_names: Dynamic[list[Text]]

    def run(self, context: TaskContext) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        marked = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}
        body = json.dumps({"spec": {"template": marked}})
        with self.cluster(context) as cluster:
            kind = cluster.kind(self.resource_type, "apps", "v1")
            for name in self.resources_names:
                context.log.info(f"Restarting {self.resource_type} `{name}`")
                url = kind.url(self.namespace, name)
                cluster.patch(url, body, _PATCHES["STRATEGIC_MERGE"], fieldManager=_WHO)


def _is_list(found: Any) -> bool:
    return isinstance(found, dict) and found.get("kind") == "List" and "items" in found


def _status(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": found.get("status")}
