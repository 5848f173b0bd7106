"""A workspace of Databricks: as whom, its clusters, its files, its SQL."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, PrivateAttr

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.logins import access_token, basic, bearer, entra_token
from kestra_dagster.tasks.rest import Rest, until, without_none

_AZURE_SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"
"""What Azure calls Databricks, in every tenant."""
_BLOCK = 1 << 20
_LOOK = timedelta(seconds=5)
_PATIENCE = timedelta(minutes=20)
_FETCH = 10_000


class Authentication(Part):
    """As whom: a token, a service principal, one of Azure, or a user with a password."""

    auth_type: Text | None = None
    token: Text | None = None
    client_id: Text | None = None
    client_secret: Text | None = None
    username: Text | None = None
    password: Text | None = None
    azure_client_id: Text | None = None
    azure_client_secret: Text | None = None
    azure_tenant_id: Text | None = None


class Databricks(Rest):
    """A task that asks a workspace; without credentials those of DATABRICKS_TOKEN are used."""

    host: Dynamic[Text] | None = None
    account_id: Dynamic[Text] | None = None
    authentication: Dynamic[Authentication] | None = None
    _logged_in: dict[str, str] = PrivateAttr(default_factory=dict)

    def root(self) -> str:
        return f"{self.site()}/api"

    def site(self) -> str:
        """Return the workspace's address."""
        host = self.host or os.environ.get("DATABRICKS_HOST")
        if not host:
            raise TaskMisconfigured("no workspace is given", hint="set `host`, or DATABRICKS_HOST")
        host = host.rstrip("/")
        return host if "://" in host else f"https://{host}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        if not self._logged_in:
            self._logged_in.update(self._login(context))
        return self._logged_in

    def _login(self, context: TaskContext) -> Mapping[str, str]:
        who = self.authentication or Authentication()
        token = who.token or (None if self.authentication else os.environ.get("DATABRICKS_TOKEN"))
        if token:
            return bearer(token)
        if who.azure_client_id and who.azure_client_secret and who.azure_tenant_id:
            asked = who.azure_tenant_id, who.azure_client_id, who.azure_client_secret
            return bearer(entra_token(self, context, *asked, _AZURE_SCOPE))
        if who.client_id and who.client_secret:
            form = {"grant_type": "client_credentials", "scope": "all-apis"}
            url, secret = f"{self.site()}/oidc/v1/token", basic(who.client_id, who.client_secret)
            return bearer(access_token(self, context, url, form, secret))
        if who.username and who.password:
            return basic(who.username, who.password)
        raise TaskMisconfigured(
            "there are no credentials for Databricks",
            hint="set `authentication.token`, or `clientId` and `clientSecret` there",
        )


class CreateCluster(Databricks):
    """Create a cluster, and wait until it runs."""

    cluster_name: Dynamic[Text]
    spark_version: Dynamic[Text]
    node_type_id: Dynamic[Text] | None = None
    auto_termination_minutes: Dynamic[int] | None = None
    num_workers: Dynamic[int] | None = None
    min_workers: Dynamic[int] | None = None
    max_workers: Dynamic[int] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        scaled = None
        if self.min_workers is not None and self.max_workers is not None:
            scaled = {"min_workers": self.min_workers, "max_workers": self.max_workers}
        wanted = {
            "cluster_name": self.cluster_name,
            "spark_version": self.spark_version,
            "node_type_id": self.node_type_id,
            "autotermination_minutes": self.auto_termination_minutes,
            "num_workers": self.num_workers,
            "autoscale": scaled,
        }
        made = self.call(context, "POST", "/2.1/clusters/create", json=without_none(wanted))
        found = wait_for_cluster(self, made["cluster_id"], ("RUNNING",), context)
        uri = f"{self.site()}/#setting/clusters/{made['cluster_id']}/configuration"
        context.log.info(f"Cluster created: {uri}")
        return {
            "clusterId": made["cluster_id"],
            "clusterURI": uri,
            "clusterState": found["state"],
        }


class DeleteCluster(Databricks):
    """Terminate a cluster, and wait until it has ended."""

    cluster_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        asked = {"cluster_id": self.cluster_id}
        self.call(context, "POST", "/2.1/clusters/delete", json=asked)
        found = wait_for_cluster(self, self.cluster_id, ("TERMINATED",), context)
        uri = f"{self.site()}/#setting/clusters/{self.cluster_id}/configuration"
        return {"clusterURI": uri, "clusterState": found["state"]}


def wait_for_cluster(
    task: Databricks, cluster: str, wanted: tuple[str, ...], context: TaskContext
) -> Mapping[str, Any]:
    """Wait until a cluster is as wanted; raise TaskFailed where it never will be."""

    def look() -> Any:
        found = task.call(context, "GET", "/2.1/clusters/get", params={"cluster_id": cluster})
        if found["state"] not in wanted and found["state"] in ("ERROR", "TERMINATED"):
            why = found.get("state_message") or found["state"]
            raise TaskFailed(f"the cluster {cluster} ended: {why}")
        return found if found["state"] in wanted else None

    return until(look, _LOOK, _PATIENCE, context, f"the cluster {cluster}", limit=None)


class Upload(Databricks):
    """Put a file into Databricks' file system; one that is there is not overwritten."""

    from_: Dynamic[Text] = Field(alias="from")
    to: Dynamic[Text]

    def run(self, context: TaskContext) -> None:
        asked = {"path": self.to, "overwrite": False}
        handle = self.call(context, "POST", "/2.0/dbfs/create", json=asked)["handle"]
        with context.storage.open(self.from_) as file:
            while data := file.read(_BLOCK):
                block = {"handle": handle, "data": b64encode(data).decode()}
                self.call(context, "POST", "/2.0/dbfs/add-block", json=block)
        self.call(context, "POST", "/2.0/dbfs/close", json={"handle": handle})
        context.metric("file.size", context.storage.size(self.from_))


class Download(Databricks):
    """Fetch a file of Databricks' file system."""

    from_: Dynamic[Text] = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        size = 0
        with scratch_file(context) as path:
            with path.open("wb") as file:
                while True:
                    asked = {"path": self.from_, "offset": size, "length": _BLOCK}
                    found = self.call(context, "GET", "/2.0/dbfs/read", params=asked)
                    if not found.get("bytes_read"):
                        break
                    file.write(b64decode(found["data"]))
                    size += found["bytes_read"]
            uri = context.storage.put(path, safe_name(PurePosixPath(self.from_).name))
        context.metric("file.size", size)
        return {"uri": uri}


class Query(RunnableSpec):
    """Run SQL on a cluster or a warehouse, and store its rows."""

    host: Dynamic[Text]
    http_path: Dynamic[Text]
    catalog: Dynamic[Text] | None = None
    schema_: Dynamic[Text] | None = Field(default=None, alias="schema")
    access_token: Dynamic[Text] | None = None
    sql: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any] | None:
        library = needed("databricks.sql", "databricks")
        try:
            with (
                library.connect(
                    server_hostname=self.host.partition("://")[2] or self.host,
                    http_path=self.http_path,
                    access_token=self.access_token,
                    catalog=self.catalog,
                    schema=self.schema_,
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(self.sql)
                if cursor.description is None:
                    return None
                stored = fetched(_rows(cursor, context), "STORE", context)
        except library.Error as error:
            raise TaskFailed(
                f"Databricks: {error}", hint="check `host`, `httpPath`, `accessToken` and the SQL"
            ) from error
        context.metric("fetch.size", stored["size"])
        return {"uri": stored["uri"], "size": stored["size"]}


def _rows(cursor: Any, context: TaskContext) -> Any:
    names = [column[0] for column in cursor.description]
    while rows := cursor.fetchmany(_FETCH):
        context.cancel.check()
        for row in rows:
            yield dict(zip(names, row, strict=True))
