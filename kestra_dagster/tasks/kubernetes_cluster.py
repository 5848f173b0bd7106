"""A cluster of Kubernetes: where it is, as whom to ask it, and what its API answers."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.guard import guarded_folder, remove_guarded
from kestra_dagster.tasks.extras import needed
from kestra_dagster.tasks.rest import part

_CONNECT, _READ = 10, 60
"""Seconds to wait for the cluster."""
_HINTS = {
    401: "check `connection.oauthToken`, or the account's certificate",
    403: "check what the account is allowed to do",
    404: "check `namespace` and the name",
}


class TokenProvider(Part):
    """A task that brings a token, and the expression that takes it from the task's outputs."""

    task: dict[str, Any]
    output: Text
    cache: Duration | None = None


class Connection(Part):
    """Where a cluster is, and as whom to ask it; every text may be a template."""

    master_url: Text = "https://kubernetes.default.svc"
    api_version: Text | None = None
    namespace: Text | None = None
    trust_certs: bool | Text | None = None
    disable_hostname_verification: bool | Text | None = None
    ca_cert_file: Text | None = None
    ca_cert_data: Text | None = None
    client_cert_file: Text | None = None
    client_cert_data: Text | None = None
    client_key_file: Text | None = None
    client_key_data: Text | None = None
    client_key_algo: Text | None = None
    oauth_token: Text | None = None
    oauth_token_provider: TokenProvider | None = None
    username: Text | None = None
    password: Text | None = None


class Kind(NamedTuple):
    """What the API calls a kind of objects: the path of its group and version, and its plural."""

    path: str
    plural: str
    namespaced: bool

    def url(self, namespace: str, name: str | None = None) -> str:
        """Return the path of all objects, or of one."""
        space = f"/namespaces/{part(namespace)}" if self.namespaced else ""
        return f"{self.path}{space}/{self.plural}" + (f"/{part(name)}" if name else "")


class KubernetesSpec(RunnableSpec):
    """A task that asks a cluster; without `connection`, that of the kubeconfig or of the pod."""

    ignored: ClassVar[Mapping[str, str]] = {
        "waitRunning": "the task runs no pod",
        "waitUntilRunning": "the task runs no pod",
    }
    ignored_below: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("connection", "apiVersion"): "each kind of objects has the version that it names itself",
        ("connection", "clientKeyAlgo"): "the key itself tells its algorithm",
        (
            "connection",
            "oauthTokenProvider",
            "cache",
        ): "each run of the task asks for its own token",
    }

    connection: Connection | None = None
    namespace: Dynamic[Text] = "default"
    wait_until_ready: Dynamic[Duration] = timedelta()

    @contextmanager
    def cluster(self, context: TaskContext) -> Iterator[Cluster]:
        """Give the cluster until the end of the block; its errors are TaskFailed."""
        library = needed("kubernetes", "kubernetes")
        with ExitStack() as stack:
            settings = library.client.Configuration()
            headers: dict[str, str] = {}
            if self.connection is None:
                try:
                    library.config.load_config(client_configuration=settings)
                except library.config.ConfigException as error:
                    raise TaskMisconfigured(
                        f"no cluster is known here: {error}", hint="set `connection`"
                    ) from error
            else:
                headers = _connect(self.connection, settings, context, stack)
            settings.retries = 2
            yield Cluster(library.client.ApiClient(settings), headers)

    def ready(self, cluster: Cluster, kind: Kind, name: str, context: TaskContext) -> Any:
        """Wait until an object says that it is ready, if that is wished, and return it."""
        found = cluster.ask("GET", kind.url(self.namespace, name))
        waited, most = 0.0, self.wait_until_ready.total_seconds()
        while most and not _is_ready(found):
            if waited >= most:
                raise TaskFailed(
                    f"`{name}` is not ready after {most:g} s", hint="raise `waitUntilReady`"
                )
            context.cancel.sleep(1)
            waited += 1
            found = cluster.ask("GET", kind.url(self.namespace, name))
        return found


class Cluster:
    """The API of a cluster."""

    def __init__(self, api: Any, headers: Mapping[str, str]) -> None:
        self.settings = api.configuration
        self._pool = api.rest_client.pool_manager
        self._headers = dict(headers)
        self._kinds: dict[str, list[Mapping[str, Any]]] = {}

    def headers(self) -> dict[str, str]:
        """Return the headers that say who asks."""
        key = self.settings.get_api_key_with_prefix("authorization")
        return {**({"authorization": key} if key else {}), **self._headers}

    def open(
        self,
        method: str,
        path: str,
        body: str | None = None,
        content: str = "application/json",
        **params: Any,
    ) -> Any:
        """Send a request and return the answer, unread; raise TaskFailed if it is refused."""
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "Content-Type": content, **self.headers()}
        url = f"{self.settings.host.rstrip('/')}{path}"
        url += f"?{urlencode(params, doseq=True)}" if params else ""
        endless = params.get("follow")
        try:
            answer = self._pool.request(
                method,
                url,
                headers=headers,
                body=body.encode() if body is not None else None,
                preload_content=False,
                timeout=Timeout(connect=_CONNECT, read=None if endless else _READ),
            )
            if answer.status >= 400:
                raise _refused(answer.status, answer.read(), f"{method} {path}")
        except HTTPError as error:
            raise TaskFailed(
                f"the cluster at {self.settings.host} does not answer: {_why(error)}",
                hint="check `connection.masterUrl` and the network",
            ) from error
        return answer

    def ask(self, method: str, path: str, json_body: Any = None, **params: Any) -> Any:
        """Send a request and return the JSON of the answer."""
        body = None if json_body is None else json.dumps(json_body, default=str)
        return self.read(self.open(method, path, body, **params))

    def patch(self, path: str, body: str, content: str, **params: Any) -> Any:
        """Change an object and return it."""
        return self.read(self.open("PATCH", path, body, content, **params))

    def delete(self, path: str, **params: Any) -> bool:
        """Delete an object and say whether there was one."""
        try:
            self.ask("DELETE", path, **params)
        except NotThere:
            return False
        return True

    @staticmethod
    def read(answer: Any) -> Any:
        """Return the JSON of an answer."""
        with answer:
            return json.loads(answer.read() or b"null")

    def kind(self, name: str, group: str | None = None, version: str | None = None) -> Kind:
        """Find a kind by its name, plural, singular or short name; TaskFailed if there is none."""
        if version and "/" in version:
            group, _, version = version.partition("/")
        for path in self._paths(group, version):
            for found in self._kinds_of(path):
                names = (found["name"], found["kind"], found.get("singularName"))
                known = {one.lower() for one in (*names, *found.get("shortNames", ())) if one}
                if name.lower() in known and "/" not in found["name"]:
                    return Kind(path, found["name"], found["namespaced"])
        where = f" in `{group}`" if group else ""
        raise TaskFailed(
            f"the cluster knows no kind `{name}`{where}",
            hint="check the kind, its group and version",
        )

    def _paths(self, group: str | None, version: str | None) -> Iterator[str]:
        if group:
            if version is None:
                found = self.ask("GET", f"/apis/{part(group)}")
                version = found["preferredVersion"]["version"]
            yield f"/apis/{part(group)}/{part(version)}"
            return
        yield f"/api/{part(version or 'v1')}"
        if group is None:
            for each in self.ask("GET", "/apis")["groups"]:
                yield f"/apis/{each['preferredVersion']['groupVersion']}"

    def _kinds_of(self, path: str) -> Sequence[Mapping[str, Any]]:
        if path not in self._kinds:
            self._kinds[path] = self.ask("GET", path)["resources"]
        return self._kinds[path]


class NotThere(TaskFailed):
    """The cluster has no such object."""


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tasks tell of an object's metadata."""
    return dict(found.get("metadata") or {})


def _connect(
    given: Connection, settings: Any, context: TaskContext, stack: ExitStack
) -> dict[str, str]:
    """Write a connection into the client's settings; return the headers that it needs."""
    written = given.model_dump(exclude={"oauth_token_provider"}, exclude_none=True)
    found = {
        name: context.render(value) if isinstance(value, str) else value
        for name, value in written.items()
    }
    settings.host = found["master_url"].rstrip("/")
    settings.verify_ssl = str(found.get("trust_certs")).lower() != "true"
    if str(found.get("disable_hostname_verification")).lower() == "true":
        settings.assert_hostname = False
    folder: Path | None = None
    for name, attribute in (
        ("ca_cert", "ssl_ca_cert"),
        ("client_cert", "cert_file"),
        ("client_key", "key_file"),
    ):
        if found.get(f"{name}_data"):
            if folder is None:
                folder = guarded_folder()
                stack.callback(remove_guarded, folder)
            path = folder / name
            path.write_bytes(_decoded(found[f"{name}_data"], f"{name}_data"))
            setattr(settings, attribute, str(path))
        elif found.get(f"{name}_file"):
            setattr(settings, attribute, found[f"{name}_file"])
    token = found.get("oauth_token")
    if given.oauth_token_provider:
        outputs = context.run_task({"id": "token", **given.oauth_token_provider.task})
        token = context.render(given.oauth_token_provider.output, outputs or {})
    if token:
        return {"authorization": f"Bearer {token}"}
    if found.get("username"):
        pair = f"{found['username']}:{found.get('password', '')}".encode()
        return {"authorization": "Basic " + base64.b64encode(pair).decode()}
    return {}


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except binascii.Error:
        raise TaskMisconfigured(f"`connection.{to_camel(name)}` is not Base64") from None


def _is_ready(found: Mapping[str, Any]) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _refused(status: int, body: bytes, what: str) -> TaskFailed:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = f"status {status}"
    kind = NotThere if status == 404 else TaskFailed
    return kind(f"Kubernetes: {message} ({what})", hint=_HINTS.get(status))


def _why(error: Any) -> str:
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2]
