"""What went wrong with an HTTP exchange, in plain words and without credentials."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.http_options import HttpOptions

if TYPE_CHECKING:
    import httpx

_SHOWN_BODY = 500
_SECRET_PARAMETER = re.compile(
    r"([?&][^=&#]*(?:key|token|secret|passw|signature|credential|auth)[^=&#]*=)[^&#]*", re.I
)
_USER_INFO = re.compile(r"(?<=://)[^/?#]*@")


class Refused(TaskFailed):
    """A server answered with a status that is not allowed."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status


def shown_url(url: str) -> str:
    """Return a URL fit for logs and outputs: no user, password, or secret-looking parameter."""
    return _SECRET_PARAMETER.sub(r"\1***", _USER_INFO.sub("", url))


def refused(response: httpx.Response) -> Refused:
    """Describe an answer whose status is not allowed, with the beginning of its body."""
    request = response.request
    url = shown_url(str(request.url))
    status = f"{response.status_code} {response.reason_phrase}".strip()
    message = f"{status} for {request.method} {url} (host `{request.url.host}`)"
    beginning = _beginning(response)
    if beginning:
        message += f": {beginning}"
    return Refused(response.status_code, message, _advice(response))


def _beginning(response: httpx.Response) -> str:
    import httpx

    taken = b""
    with suppress(httpx.HTTPError):
        for chunk in response.iter_bytes(_SHOWN_BODY):
            taken += chunk
            if len(taken) >= _SHOWN_BODY:
                break
    text = taken[:_SHOWN_BODY].decode(response.charset_encoding or "utf-8", "replace").strip()
    return text + (" ..." if len(taken) > _SHOWN_BODY else "")


def _advice(response: httpx.Response) -> str:
    code = response.status_code
    if code in (401, 403):
        return "check the credentials in `options.auth` or `headers`, and what they may access"
    if code == 407:
        return "check `username` and `password` of `options.proxy`"
    if code in (404, 410):
        return "check `uri`: the server answers, but has nothing there"
    if code == 429:
        after = response.headers.get("retry-after")
        return f"add a `retry`; the server asks to wait {after}" if after else "add a `retry`"
    if code >= 500:
        return "the server has a problem: add a `retry`, or try later"
    if code < 400:
        return "add the status to `options.allowedResponseCodes`, or follow redirects"
    return "correct the request; set `options.allowFailed: true` to go on with any status"


def failure(
    error: httpx.HTTPError, request: httpx.Request | None, url: str, options: HttpOptions
) -> TaskFailed:
    """Describe what went wrong on the way to the server or back."""
    import httpx

    # the error's own request is the one after redirects
    with suppress(RuntimeError):
        request = error.request
    url = shown_url(str(request.url) if request else url)
    host = request.url.host if request else ""
    port = request.url.port if request else None
    place = f"`{host}:{port}`" if port else f"`{host}`"
    what = f"{request.method if request else 'GET'} {url}"
    cause = _root_cause(error)
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return TaskMisconfigured(f"cannot request `{url}`: {error}", hint="check `headers`")
    if isinstance(error, httpx.TooManyRedirects):
        return TaskFailed(f"{what} was redirected too often", hint="check `uri`")
    if isinstance(error, httpx.ProxyError):
        return TaskFailed(f"the proxy refused {what}: {error}", hint="check `options.proxy`")
    if isinstance(error, httpx.ConnectTimeout):
        waited = f"{options.connect_seconds():g} s"
        return TaskFailed(
            f"could not reach host {place}: no connection within {waited} ({what})",
            hint="check host and network, or raise `options.timeout.connectTimeout`",
        )
    if isinstance(error, httpx.TimeoutException):
        waited = f"{options.read_seconds():g} s"
        return TaskFailed(
            f"host {place} sent nothing for {waited} ({what})",
            hint="raise `options.timeout.readIdleTimeout` if the server needs longer",
        )
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", None) or cause.reason or str(cause)
        return TaskFailed(
            f"no secure connection to host {place}: {reason} ({what})",
            hint="check the server's certificate; `options.ssl.insecureTrustAllCertificates: true` "
            "skips the check",
        )
    if isinstance(error, httpx.ConnectError):
        if isinstance(cause, socket.gaierror):
            reason, hint = "unknown host name", "check the spelling of the host and the DNS"
        elif isinstance(cause, ConnectionRefusedError):
            reason, hint = "connection refused", "check that the server runs and the port is right"
        else:
            reason, hint = str(cause) or str(error), "check host and network"
        return TaskFailed(f"could not reach host {place}: {reason} ({what})", hint=hint)
    if isinstance(error, httpx.DecodingError):
        return TaskFailed(f"the body of {what} cannot be decompressed: {error}")
    return TaskFailed(
        f"the connection to host {place} broke off before the whole answer was there "
        f"({what}): {error or type(error).__name__}",
        hint="add a `retry`",
    )


def _root_cause(error: BaseException) -> BaseException:
    while following := error.__cause__ or error.__context__:
        error = following
    return error
