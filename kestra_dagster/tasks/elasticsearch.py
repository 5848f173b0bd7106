"""`io.kestra.plugin.elasticsearch` and `opensearch`: documents put, found and loaded, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import Cancelled, TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.rows import plain, read_rows

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 120
_SCROLL = "60s"
_REFRESH = {"NONE": "false", "IMMEDIATE": "true", "WAIT_UNTIL": "wait_for"}

Body = Dynamic[dict[str, Any] | Text]
"""A map, or JSON text."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class BasicAuth(_Part):
    """As whom to speak to the cluster."""

    username: Text
    password: Text


class Connection(_Part):
    """Where the cluster is; the first host that answers is used."""

    hosts: list[Text] = Field(min_length=1)
    basic_auth: BasicAuth | None = None
    headers: list[Text] = Field(default_factory=list)
    path_prefix: Text = ""
    strict_deprecation_mode: bool = False
    trust_all_ssl: bool = False
    target_server_version: int | None = None


class SearchSpec(RunnableSpec):
    """The cluster that a task speaks to."""

    connection: Dynamic[Connection]
    routing: Dynamic[Text] | None = None

    @contextmanager
    def cluster(self, context: TaskContext) -> Iterator[Cluster]:
        """Give the cluster; its errors are TaskFailed, and a cancelled task is cut off."""
        import httpx

        given = self.connection
        headers = {}
        for line in given.headers:
            name, colon, value = line.partition(":")
            if not colon:
                raise TaskMisconfigured("`headers` have to be written as `Name: Value`")
            headers[name.strip()] = value.strip()
        if given.basic_auth and not any(name.lower() == "authorization" for name in headers):
            login = f"{given.basic_auth.username}:{given.basic_auth.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        client = httpx.Client(
            headers=headers,
            verify=not given.trust_all_ssl,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
        )
        forget = context.cancel.on_cancel(client.close)
        try:
            yield Cluster(client, given, context)
        except (httpx.HTTPError, RuntimeError) as error:
            if context.cancel.cancelled:
                raise Cancelled(context.cancel.reason or "cancelled") from None
            if isinstance(error, RuntimeError):
                raise
            raise TaskFailed(f"the cluster broke off: {error}", hint="add a `retry`") from error
        finally:
            forget()
            client.close()

    def routed(self, **parameters: Any) -> dict[str, Any]:
        """Return the parameters that have a value, with the routing."""
        found = {"routing": self.routing, **parameters}
        return {name: value for name, value in found.items() if value is not None}


class Cluster:
    """A cluster, spoken to over HTTP."""

    def __init__(self, client: httpx.Client, given: Connection, context: TaskContext) -> None:
        self._client = client
        self._given = given
        self._context = context

    def send(
        self,
        method: str,
        path: str,
        body: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        missing: bool = False,
    ) -> httpx.Response:
        """Send a request and return the answer; raise TaskFailed where it is refused.

        `missing` says that an answer of 404 is one too.
        """
        import httpx

        prefix = self._given.path_prefix.strip("/")
        place = f"/{prefix}/{path.lstrip('/')}" if prefix else f"/{path.lstrip('/')}"
        failure: Exception | None = None
        for host in self._given.hosts:
            self._context.cancel.check()
            try:
                answer = self._client.request(
                    method,
                    host.rstrip("/") + place,
                    content=body,
                    params=parameters,
                    headers={"Content-Type": kind} if body is not None else None,
                )
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
                continue
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise TaskMisconfigured(
                    "`connection.hosts` holds no address of a cluster",
                    hint="write `http://host:9200`",
                ) from error
            return self._checked(answer, missing)
        raise TaskFailed(
            f"no host of the cluster answers: {failure}", hint="check `connection.hosts`"
        ) from failure

    def _checked(self, answer: httpx.Response, missing: bool) -> httpx.Response:
        for warning in answer.headers.get_list("warning"):
            self._context.log.warn(warning)
            if self._given.strict_deprecation_mode:
                raise TaskFailed(f"the cluster warns: {warning}")
        if answer.status_code in (401, 403):
            raise TaskFailed(
                "the cluster refused the user or the password",
                hint="check `connection.basicAuth` or `connection.headers`",
            )
        if answer.is_error and not (missing and answer.status_code == 404):
            raise TaskFailed(f"the cluster refused: {_reason(answer)}")
        return answer


class Put(SearchSpec):
    """Put a document into an index."""

    ignored: ClassVar[Mapping[str, str]] = {"contentType": "documents are maps or JSON text"}

    index: Dynamic[Text]
    op_type: Dynamic[Literal["INDEX", "CREATE"] | None] = None
    key: Dynamic[Text] | None = None
    value: Body
    refresh_policy: Dynamic[Literal["IMMEDIATE", "WAIT_UNTIL", "NONE"]] = "NONE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        parameters = self.routed(
            refresh=_REFRESH[self.refresh_policy],
            op_type=self.op_type.lower() if self.op_type else None,
        )
        method, place = ("PUT", f"/{quote(self.key, safe='')}") if self.key else ("POST", "")
        path = f"{quote(self.index, safe='')}/_doc{place}"
        with self.cluster(context) as cluster:
            done = cluster.send(method, path, _json(self.value, "value"), parameters).json()
        return {"id": done["_id"], "result": done["result"].upper(), "version": done["_version"]}


class Get(SearchSpec):
    """Get a document of an index; one that is not there is null."""

    index: Dynamic[Text]
    key: Dynamic[Text]
    doc_version: Dynamic[int | None] = Field(default=None, alias="version")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"{quote(self.index, safe='')}/_doc/{quote(self.key, safe='')}"
        with self.cluster(context) as cluster:
            found = cluster.send(
                "GET", path, parameters=self.routed(version=self.doc_version), missing=True
            ).json()
        if "error" in found:
            raise TaskFailed(f"there is no index `{self.index}`")
        return {"row": found.get("_source")}


class _Query(SearchSpec):
    ignored: ClassVar[Mapping[str, str]] = {"contentType": "requests are maps or JSON text"}

    indexes: Dynamic[list[Text]] = Field(default_factory=list)
    request: Body

    @property
    def path(self) -> str:
        names = ",".join(quote(name, safe="*") for name in self.indexes)
        return f"{names}/_search" if names else "_search"


class Search(_Query):
    """Find documents, as many as one request brings."""

    fetch_type: Dynamic[FetchType] = "FETCH"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.cluster(context) as cluster:
            body = _json(self.request, "request")
            found = cluster.send("POST", self.path, body, self.routed()).json()
        hits = found["hits"]["hits"]
        context.metric("requests.count", 1)
        context.metric("records", len(hits))
        context.metric("requests.duration", found["took"] / 1000, "timer")
        total = found["hits"].get("total", len(hits))
        outputs = fetched((hit.get("_source") for hit in hits), self.fetch_type, context)
        return {**outputs, "total": total["value"] if isinstance(total, dict) else total}


class Scroll(_Query):
    """Find all documents, into a stored file."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with self.cluster(context) as cluster:
            stored = fetched(self._all(cluster, context), "STORE", context)
        context.metric("records", stored["size"])
        return {"size": stored["size"], "uri": stored["uri"]}

    def _all(self, cluster: Cluster, context: TaskContext) -> Iterator[Any]:
        body = _json(self.request, "request")
        found = cluster.send("POST", self.path, body, self.routed(scroll=_SCROLL)).json()
        requests = 1
        try:
            while hits := found["hits"]["hits"]:
                yield from (hit.get("_source") for hit in hits)
                more = json.dumps({"scroll": _SCROLL, "scroll_id": found["_scroll_id"]})
                found = cluster.send("POST", "_search/scroll", more).json()
                requests += 1
        finally:
            gone = json.dumps({"scroll_id": [found["_scroll_id"]]})
            cluster.send("DELETE", "_search/scroll", gone, missing=True)
        context.metric("requests.count", requests)


class _Writes(SearchSpec):
    from_: Dynamic[Text] = Field(alias="from")
    chunk: Dynamic[int] = Field(default=1000, ge=1)

    def written(self, operations: Iterable[list[str]], context: TaskContext) -> dict[str, Any]:
        """Send operations, each of one line or two, `chunk` a request."""
        pending, size, requests, took = iter(operations), 0, 0, 0
        with self.cluster(context) as cluster:
            while batch := list(islice(pending, self.chunk)):
                body = "".join(line + "\n" for lines in batch for line in lines)
                done = cluster.send(
                    "POST", "_bulk", body, self.routed(), "application/x-ndjson"
                ).json()
                if done["errors"]:
                    raise TaskFailed(_first_error(done["items"], size))
                size, requests, took = size + len(batch), requests + 1, took + done["took"]
        context.metric("requests.count", requests)
        context.metric("records", size)
        context.metric("requests.duration", took / 1000, "timer")
        context.log.info(f"Successfully sent {requests} requests for {size} records")
        return {"size": size}


class Load(_Writes):
    """Put the rows of a stored file into an index."""

    index: Dynamic[Text]
    op_type: Dynamic[Literal["INDEX", "CREATE"]] = "INDEX"
    id_key: Dynamic[Text] | None = None
    remove_id_key: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        def operations() -> Iterator[list[str]]:
            for number, row in enumerate(read_rows(self.from_, context), start=1):
                if not isinstance(row, dict):
                    raise TaskFailed(f"row {number} of `{self.from_}` is not a map of fields")
                told: dict[str, Any] = {"_index": self.index}
                if self.id_key:
                    if row.get(self.id_key) is None:
                        raise TaskFailed(f"row {number} of `{self.from_}` has no `{self.id_key}`")
                    told["_id"] = str(row[self.id_key])
                    if self.remove_id_key:
                        row = {key: value for key, value in row.items() if key != self.id_key}
                yield [json.dumps({self.op_type.lower(): told}), json.dumps(plain(row))]

        return self.written(operations(), context)


class Bulk(_Writes):
    """Run the operations of a stored file, written as the cluster's bulk requests are."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        def operations() -> Iterator[list[str]]:
            rows = read_rows(self.from_, context)
            for number, row in enumerate(rows, start=1):
                kind = next(iter(row), None) if isinstance(row, dict) else None
                if kind not in ("index", "create", "update", "delete"):
                    raise TaskFailed(f"operation {number} of `{self.from_}` is none: `{kind}`")
                if kind == "delete":
                    yield [json.dumps(row)]
                    continue
                document = next(rows, None)
                if not isinstance(document, dict):
                    raise TaskFailed(f"operation {number} of `{self.from_}` has no document")
                yield [json.dumps(row), json.dumps(plain(document))]

        return self.written(operations(), context)


class Request(SearchSpec):
    """Send any request to the cluster."""

    method: Dynamic[Literal["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]] = "GET"
    endpoint: Dynamic[Text]
    parameters: Dynamic[dict[str, Text]] | None = None
    body: Body | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = None if self.body is None else _json(self.body, "body")
        with self.cluster(context) as cluster:
            answer = cluster.send(self.method, self.endpoint, body, self.parameters)
        is_json = "json" in answer.headers.get("content-type", "") and answer.content
        return {"status": answer.status_code, "response": answer.json() if is_json else answer.text}


def _json(value: dict[str, Any] | str, name: str) -> str:
    if isinstance(value, dict):
        return json.dumps(plain(value))
    try:
        read = json.loads(value)
    except ValueError as error:
        raise TaskMisconfigured(f"`{name}` is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise TaskMisconfigured(f"`{name}` has to be a map")
    return value


def _reason(answer: httpx.Response) -> str:
    try:
        error = answer.json().get("error")
    except (ValueError, AttributeError):
        error = None
    if isinstance(error, dict):
        causes = error.get("root_cause") or [error]
        return str(causes[0].get("reason") or error.get("reason") or error.get("type"))
    return str(error or f"{answer.status_code} {answer.reason_phrase}")


def _first_error(items: list[dict[str, Any]], before: int) -> str:
    for number, item in enumerate(items, start=before + 1):
        (told,) = item.values()
        if "error" in told:
            error = told["error"]
            reason = error.get("reason") if isinstance(error, dict) else error
            return f"the cluster refused operation {number}: {reason}"
    return "the cluster refused a bulk request"
