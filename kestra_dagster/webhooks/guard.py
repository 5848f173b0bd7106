"""Who may ask, and how much: tokens, hosts, sizes."""

from __future__ import annotations

import hmac
import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kestra_dagster.errors import TerminalError
from kestra_dagster.webhooks.answers import problem

TOKEN_VARIABLE = "KESTRA_DAGSTER_TOKEN"
LARGEST_VARIABLE = "KESTRA_DAGSTER_LARGEST_REQUEST"
LARGEST = 10 * 1024 * 1024
"""Bytes of the largest request body that is taken."""


class NotGuarded(TerminalError):
    """The app would be open to everybody."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may use the interface to executions; webhooks have keys of their own.

    Without a token only this machine may, and only by its own names: a page in a browser that is
    led here by a foreign name, or that sends a request across, is refused.
    """

    token: str | None
    largest: int = LARGEST

    def refusal(self, request: Request) -> str | None:
        """Return why a request may not ask, None if it may."""
        if self.token is None:
            host = request.headers.get("host", "")
            origin = request.headers.get("origin")
            names = [host, urlsplit(origin).netloc if origin is not None else host]
            if all(is_loopback(_without_port(name)) for name in names):
                return None
            return f"this interface is for this machine only; set {TOKEN_VARIABLE} to open it"
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return "give the token as `Authorization: Bearer ...`"


def guard_for(host: str) -> Guard:
    """Return the guard of an app that listens at a host; raise NotGuarded without a token there."""
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is None and not is_loopback(host):
        raise NotGuarded(
            f"who can reach {host} could start any flow: set the environment variable "
            f"{TOKEN_VARIABLE} to a long random text, or listen on 127.0.0.1"
        )
    return Guard(token, int(os.environ.get(LARGEST_VARIABLE) or LARGEST))


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _without_port(netloc: str) -> str:
    if netloc.startswith("["):
        return netloc.partition("]")[0][1:]
    return netloc.rpartition(":")[0] if ":" in netloc else netloc


class TooLarge(Exception):
    """The body of a request has more bytes than are taken."""


class LimitedBodies:
    """Refuse bodies above a size, whatever their sender says their length is."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._largest:
            await problem(413, self._text())(scope, receive, send)
            return
        taken, answered = 0, False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._largest:
                raise TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = answered or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, limited, watched)
        except TooLarge:
            if not answered:
                await problem(413, self._text())(scope, receive, send)

    def _text(self) -> str:
        return f"the body has more than {self._largest} bytes ({LARGEST_VARIABLE} sets the limit)"
