"""The `options` of HTTP tasks: today's nested form, and the flat names of older flows."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kestra_dagster.flow.model import LogLevel
from kestra_dagster.flow.properties import Duration, Text

LoggedPart = Literal["REQUEST_HEADERS", "REQUEST_BODY", "RESPONSE_HEADERS", "RESPONSE_BODY"]
ProxyType = Literal["DIRECT", "HTTP", "SOCKS"]

CONNECT_TIMEOUT = timedelta(seconds=10)
READ_TIMEOUT = timedelta(minutes=5)
MAX_CONTENT_LENGTH = 64 * 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class HttpTimeout(_Part):
    """How long to wait for a connection, and for the next bytes."""

    connect_timeout: Duration | None = None
    read_idle_timeout: Duration | None = None


class HttpProxy(_Part):
    """The proxy to go through."""

    type: ProxyType = "HTTP"
    address: Text | None = None
    port: int | None = None
    username: Text | None = None
    password: Text | None = None


class BasicAuth(_Part):
    """A user name and a password with every request."""

    type: Literal["BASIC"]
    username: Text | None = None
    password: Text | None = None


class DigestAuth(_Part):
    """A user name and a password, as an answer to the server's challenge."""

    type: Literal["DIGEST"]
    username: Text | None = None
    password: Text | None = None


class BearerAuth(_Part):
    """A token with every request."""

    type: Literal["BEARER"]
    token: Text | None = None


HttpAuth = Annotated[BasicAuth | DigestAuth | BearerAuth, Field(discriminator="type")]


class HttpSsl(_Part):
    """How to check the server's certificate."""

    insecure_trust_all_certificates: bool = False


class HttpOptions(_Part):
    """All that a task can say about the client; what is nested wins over its flat old name."""

    timeout: HttpTimeout = HttpTimeout()
    proxy: HttpProxy | None = None
    auth: HttpAuth | None = None
    ssl: HttpSsl | None = None
    follow_redirects: bool = True
    allow_failed: bool = False
    allowed_response_codes: list[int] | None = None
    default_charset: Text = "UTF-8"
    logs: list[LoggedPart] | None = None
    max_content_length: int = MAX_CONTENT_LENGTH
    """Most bytes of a body that Request keeps in memory."""

    connect_timeout: Duration | None = None
    read_timeout: Duration | None = None
    read_idle_timeout: Duration | None = None
    connection_pool_idle_timeout: Duration | None = None
    proxy_type: ProxyType | None = None
    proxy_address: Text | None = None
    proxy_port: int | None = None
    proxy_username: Text | None = None
    proxy_password: Text | None = None
    basic_auth_user: Text | None = None
    basic_auth_password: Text | None = None
    log_level: LogLevel | None = None

    def connect_seconds(self) -> float:
        """Seconds to wait for a connection."""
        chosen = self.timeout.connect_timeout or self.connect_timeout or CONNECT_TIMEOUT
        return chosen.total_seconds()

    def read_seconds(self) -> float:
        """Seconds to wait for the next bytes."""
        chosen = self.timeout.read_idle_timeout or self.read_timeout or READ_TIMEOUT
        return chosen.total_seconds()

    def any_proxy(self) -> HttpProxy | None:
        """The proxy, in whichever form it was written."""
        if self.proxy or not (self.proxy_address or self.proxy_type):
            return self.proxy
        return HttpProxy(
            type=self.proxy_type or "HTTP",
            address=self.proxy_address,
            port=self.proxy_port,
            username=self.proxy_username,
            password=self.proxy_password,
        )

    def any_auth(self) -> BasicAuth | DigestAuth | BearerAuth | None:
        """The credentials, in whichever form they were written."""
        if self.auth or not (self.basic_auth_user or self.basic_auth_password):
            return self.auth
        return BasicAuth(
            type="BASIC", username=self.basic_auth_user, password=self.basic_auth_password
        )

    def logged_parts(self) -> frozenset[LoggedPart]:
        """What of the exchange to log; `logLevel` stands for a set of parts as in Kestra."""
        if self.logs is not None:
            return frozenset(self.logs)
        if self.log_level == "TRACE":
            return frozenset(
                ("REQUEST_HEADERS", "REQUEST_BODY", "RESPONSE_HEADERS", "RESPONSE_BODY")
            )
        if self.log_level == "DEBUG":
            return frozenset(("REQUEST_HEADERS", "RESPONSE_HEADERS"))
        return frozenset(("RESPONSE_HEADERS",)) if self.log_level == "INFO" else frozenset()
