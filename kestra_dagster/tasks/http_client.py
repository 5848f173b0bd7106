"""One HTTP exchange of a task: sent with its options, cancellable, failures in plain words."""

from __future__ import annotations

import functools
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.http_failures import failure, refused, shown_url
from kestra_dagster.tasks.http_options import BasicAuth, BearerAuth, HttpOptions, HttpProxy

if TYPE_CHECKING:
    import httpx

CHUNK = 256 * 1024
_SECRET_HEADERS = frozenset(
    (
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "api-key", "x-api-key"),
        *("private-token", "x-goog-api-key", "x-rapidapi-key", "x-shopify-access-token"),
    )
)


class Outgoing(NamedTuple):
    """A request before it is sent; `body` holds httpx's content arguments."""

    method: str
    url: str
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str | list[str]] | None = None
    body: Mapping[str, Any] = {}


@contextmanager
def exchange(
    outgoing: Outgoing, options: HttpOptions, context: TaskContext
) -> Iterator[httpx.Response]:
    """Send a request and give the response, its body yet unread.

    Raise TaskFailed when the server cannot be reached, breaks off (in the `with` block too) or
    answers with a status that `options` do not allow; Cancelled when told to stop, even on a
    blocked read.
    """
    import httpx

    context.cancel.check()
    sockets = _Sockets()
    forget = context.cancel.on_cancel(sockets.shut)
    client, request = _client(options), None
    try:
        request = _request(client, outgoing, sockets)
        _log_request(request, options, context)
        response = client.send(
            request, auth=_auth(options), stream=True, follow_redirects=options.follow_redirects
        )
        try:
            _log_response(response, options, context)
            if not _allowed(response.status_code, options):
                raise refused(response)
            yield response
        finally:
            response.close()
    except httpx.HTTPError as error:
        context.cancel.check()
        raise failure(error, request, outgoing.url, options) from error
    except (httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        raise TaskMisconfigured(f"cannot request `{shown_url(outgoing.url)}`: {error}") from error
    finally:
        forget()
        client.close()


def content(response: httpx.Response, context: TaskContext) -> Iterator[bytes]:
    """Yield the decoded body in chunks, and stop when the task is cancelled."""
    for chunk in response.iter_bytes(CHUNK):
        context.cancel.check()
        yield chunk


class _Sockets:
    """The connections of one exchange; shutting them ends a read that blocks in another thread."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []
        self._shut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note each connection (httpcore's `trace` extension is its public way to see them)."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                self._open.append(found)
                if self._shut:
                    self.shut()

    def shut(self) -> None:
        """End every connection, those yet to come too."""
        self._shut = True
        for each in self._open:
            with suppress(OSError):
                # ssl.SSLSocket.shutdown would drop the TLS state under the reading thread
                socket.socket.shutdown(each, socket.SHUT_RDWR)


def _client(options: HttpOptions) -> httpx.Client:
    import httpx

    proxy = options.any_proxy()
    try:
        return httpx.Client(
            timeout=httpx.Timeout(options.read_seconds(), connect=options.connect_seconds()),
            verify=_certificates(options),
            proxy=_proxy(proxy) if proxy and proxy.type != "DIRECT" else None,
            trust_env=proxy is None,
        )
    except ImportError as error:
        raise TaskMisconfigured(
            "a SOCKS proxy needs the package `socksio`", hint="install it: `pip install socksio`"
        ) from error


def _certificates(options: HttpOptions) -> ssl.SSLContext:
    """Return how certificates are checked; reading the authorities takes 20 ms, so it is kept."""
    trusting = bool(options.ssl and options.ssl.insecure_trust_all_certificates)
    return _context(trusting, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@functools.lru_cache(maxsize=8)
def _context(trusting: bool, file: str | None, folder: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context(verify=not trusting)


def _proxy(proxy: HttpProxy) -> httpx.Proxy:
    import httpx

    if not proxy.address:
        raise TaskMisconfigured("the proxy has no `address`")
    scheme = "socks5" if proxy.type == "SOCKS" else "http"
    host = f"[{proxy.address}]" if ":" in proxy.address else proxy.address
    port = f":{proxy.port}" if proxy.port else ""
    auth = (proxy.username, proxy.password or "") if proxy.username else None
    return httpx.Proxy(f"{scheme}://{host}{port}", auth=auth)


def _auth(
    options: HttpOptions,
) -> httpx.Auth | Callable[[httpx.Request], httpx.Request] | None:
    import httpx

    auth = options.any_auth()
    if auth is None:
        return None
    if isinstance(auth, BearerAuth):
        return partial(_bear, auth.token or "")
    kind = httpx.BasicAuth if isinstance(auth, BasicAuth) else httpx.DigestAuth
    return kind(auth.username or "", auth.password or "")


def _bear(token: str, request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _request(client: httpx.Client, outgoing: Outgoing, sockets: _Sockets) -> httpx.Request:
    import httpx

    url = httpx.URL(outgoing.url.strip().replace(" ", "%20"))
    if url.scheme not in ("http", "https"):
        raise TaskMisconfigured(f"`{shown_url(outgoing.url)}` is not an http:// or https:// URL")
    if outgoing.params:
        url = url.copy_merge_params(outgoing.params)
    headers = [
        (name, value)
        for name, values in (outgoing.headers or {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return client.build_request(
        outgoing.method.upper(),
        url,
        headers=headers,
        extensions={"trace": sockets.trace},
        **outgoing.body,
    )


def _allowed(status: int, options: HttpOptions) -> bool:
    if options.allowed_response_codes:
        return status in options.allowed_response_codes
    return status < 400 or options.allow_failed


def _log_request(request: httpx.Request, options: HttpOptions, context: TaskContext) -> None:
    import httpx

    context.log.debug(f"{request.method} {shown_url(str(request.url))}")
    parts = options.logged_parts()
    if "REQUEST_HEADERS" in parts:
        context.log.debug(f"request headers: {_shown_headers(request.headers)}")
    if "REQUEST_BODY" in parts and "content-length" in request.headers:
        with suppress(httpx.RequestNotRead):
            context.log.debug(f"request body: {request.content.decode('utf-8', 'replace')}")


def _log_response(response: httpx.Response, options: HttpOptions, context: TaskContext) -> None:
    if "RESPONSE_HEADERS" in options.logged_parts():
        context.log.debug(
            f"response {response.status_code}, headers: {_shown_headers(response.headers)}"
        )


def _shown_headers(headers: httpx.Headers) -> str:
    return ", ".join(
        f"{name}: {'***' if name.lower() in _SECRET_HEADERS else value}"
        for name, value in headers.multi_items()
    )
