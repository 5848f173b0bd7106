"""Tasks that speak HTTP: keep an answer, or download a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import unquote

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import is_internal, scratch_file, uri_name
from kestra_dagster.runtime.storage import safe_name
from kestra_dagster.tasks.http_client import Outgoing, content, exchange
from kestra_dagster.tasks.http_failures import shown_url
from kestra_dagster.tasks.http_options import HttpAuth, HttpOptions, HttpSsl

if TYPE_CHECKING:
    import httpx

_MULTIPART = "multipart/form-data"

Method = Annotated[Text, Field(pattern=r"^[A-Za-z]+$")]


class HttpSpec(RunnableSpec):
    """The properties of every HTTP task."""

    deprecated: ClassVar[Mapping[str, str]] = {
        "auth": "`options.auth`",
        "sslOptions": "`options.ssl`",
        "allowFailed": "`options.allowFailed`",
    }

    uri: Dynamic[Text]
    method: Dynamic[Method] = "GET"
    body: Dynamic[Text | dict[str, Any] | list[Any]] | None = None
    form_data: Dynamic[dict[str, Any]] | None = None
    content_type: Dynamic[Text] | None = None
    headers: Dynamic[dict[str, Text | list[Text]]] | None = None
    params: Dynamic[dict[str, Text | list[Text]]] | None = None
    options: Dynamic[HttpOptions] = HttpOptions()

    auth: Dynamic[HttpAuth] | None = None
    ssl_options: Dynamic[HttpSsl] | None = None
    allow_failed: Dynamic[bool] | None = None

    def client_options(self) -> HttpOptions:
        """Return `options` with what older flows write beside them."""
        older = {
            "auth": self.options.any_auth() or self.auth,
            "ssl": self.options.ssl or self.ssl_options,
            "allow_failed": self.options.allow_failed or self.allow_failed or False,
        }
        return self.options.model_copy(update=older)

    @contextmanager
    def exchange(self, context: TaskContext) -> Iterator[httpx.Response]:
        """Send the request and give the response, as `http_client.exchange` does."""
        with ExitStack() as files:
            headers = dict(self.headers or {})
            body = self._body(context, files)
            content_type = self.content_type
            if content_type is None and self.body is not None and self.form_data is None:
                content_type = "application/json"
            named = any(name.lower() == "content-type" for name in headers)
            # httpx writes the type of a form itself: that of multipart carries the boundary
            if content_type and not named and not self.form_data:
                headers["Content-Type"] = content_type
            outgoing = Outgoing(self.method, self.uri, self.params, headers, body)
            yield files.enter_context(exchange(outgoing, self.client_options(), context))

    def _body(self, context: TaskContext, files: ExitStack) -> dict[str, Any]:
        if self.form_data:
            if self.content_type == _MULTIPART or any(map(_is_file, self.form_data.values())):
                parts = [
                    (name, _part(value, context, files)) for name, value in self.form_data.items()
                ]
                return {"files": parts}
            return {"data": {name: _field(value) for name, value in self.form_data.items()}}
        if self.body is None:
            return {}
        text = self.body if isinstance(self.body, str) else _json(self.body)
        try:
            return {"content": text.encode(self.options.default_charset)}
        except (LookupError, UnicodeEncodeError) as error:
            raise TaskMisconfigured(f"cannot send `body`: {error}") from error


class Request(HttpSpec):
    """Send a request and return the answer's text."""

    encrypt_body: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        limit = self.options.max_content_length
        with self.exchange(context) as response:
            body = bytearray()
            for chunk in content(response, context):
                body += chunk
                if len(body) > limit:
                    raise TaskFailed(
                        f"the answer of {shown_url(self.uri)} is larger than {limit} bytes",
                        hint="use `io.kestra.plugin.core.http.Download`, which keeps it in a file, "
                        "or raise `options.maxContentLength`",
                    )
        text = _text(bytes(body), response)
        if "RESPONSE_BODY" in self.options.logged_parts():
            context.log.debug(f"response body: {text}")
        context.metric("response.length", len(body))
        return {
            "uri": shown_url(self.uri),
            "code": response.status_code,
            "headers": _headers(response),
            "body": None if self.encrypt_body else text,
            "encryptedBody": context.encrypt(text) if self.encrypt_body and text else None,
        }


class Download(HttpSpec):
    """Keep the answer's body as a file in internal storage."""

    fail_on_empty_response: Dynamic[bool] = True
    save_as: Dynamic[Text] | None = None
    max_bytes_per_second: Dynamic[int] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if is_internal(self.uri):
            return self._copy(context)
        with scratch_file(context) as path:
            with self.exchange(context) as response:
                length = self._save(response, path, context)
            if not length:
                self._empty(context)
            name = self.save_as or _offered_name(response) or uri_name(self.uri)
            uri = context.storage.put(path, safe_name(unquote(name)))
        context.metric("response.length", length)
        context.log.debug(f"File '{shown_url(self.uri)}' downloaded with size '{length}'")
        return {
            "uri": uri,
            "code": response.status_code,
            "length": length,
            "headers": _headers(response),
        }

    def _copy(self, context: TaskContext) -> Mapping[str, Any]:
        length = context.storage.size(self.uri)
        if not length:
            self._empty(context)
        with context.storage.open(self.uri) as source:
            uri = context.storage.put(source, safe_name(self.save_as or uri_name(self.uri)))
        context.metric("response.length", length)
        return {"uri": uri, "code": 200, "length": length, "headers": {}}

    def _save(self, response: httpx.Response, path: Path, context: TaskContext) -> int:
        started, length = time.monotonic(), 0
        with path.open("wb") as file:
            for chunk in content(response, context):
                file.write(chunk)
                length += len(chunk)
                if self.max_bytes_per_second:
                    early = length / self.max_bytes_per_second - (time.monotonic() - started)
                    context.cancel.sleep(max(0.0, early))
        return length

    def _empty(self, context: TaskContext) -> None:
        message = f"{shown_url(self.uri)} is empty"
        if self.fail_on_empty_response and not self.client_options().allow_failed:
            raise TaskFailed(message, hint="set `failOnEmptyResponse: false` if that is fine")
        context.log.warn(message)


def _offered_name(response: httpx.Response) -> str | None:
    disposition = response.headers.get("content-disposition")
    if not disposition:
        return None
    message = Message()
    message["content-disposition"] = disposition
    return message.get_filename()


def _text(body: bytes, response: httpx.Response) -> str | None:
    try:
        return body.decode(response.charset_encoding or "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise TaskFailed(
            f"the answer of {shown_url(str(response.request.url))} is not text: {error}",
            hint="use `io.kestra.plugin.core.http.Download`, which keeps any bytes",
        ) from error


def _headers(response: httpx.Response) -> dict[str, list[str]]:
    return {name: response.headers.get_list(name) for name in response.headers}


def _is_file(value: object) -> bool:
    return is_internal(value) or (
        isinstance(value, dict) and "name" in value and is_internal(value.get("content"))
    )


def _part(value: Any, context: TaskContext, files: ExitStack) -> tuple[str | None, Any]:
    """Return the file name and content of one part of a multipart body."""
    if isinstance(value, dict) and _is_file(value):
        return str(value["name"]), files.enter_context(context.storage.open(value["content"]))
    if isinstance(value, str) and is_internal(value):
        return safe_name(uri_name(value)), files.enter_context(context.storage.open(value))
    return None, value if isinstance(value, str) else _json(value)


def _field(value: Any) -> Any:
    return _json(value) if isinstance(value, dict) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
