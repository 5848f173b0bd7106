"""Start a run through the web server of Dagster, and learn its id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from kestra_dagster.errors import RetryableError

WEBSERVER_VARIABLE = "KESTRA_DAGSTER_WEBSERVER"
WEBSERVER = "http://127.0.0.1:8080"
SECONDS = 30


class NotLaunched(RetryableError):
    """The run could not be started now."""


class Launcher(Protocol):
    """Starts runs of jobs."""

    def launch(self, job: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a run and return its id; raise NotLaunched."""
        ...


class WebServer:
    """The web server of Dagster, by its GraphQL interface."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or os.environ.get(WEBSERVER_VARIABLE) or WEBSERVER

    def launch(self, job: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
        from gql.transport.exceptions import TransportError
        from requests import RequestException

        parts = urlsplit(self.url)
        try:
            client = DagsterGraphQLClient(
                parts.hostname or "127.0.0.1",
                parts.port,
                use_https=parts.scheme == "https",
                path_prefix=parts.path.rstrip("/"),
                timeout=SECONDS,
            )
            return client.submit_job_execution(job, run_config=dict(config), tags=dict(tags))
        except (DagsterGraphQLClientError, TransportError, RequestException, OSError) as error:
            raise NotLaunched(f"Dagster at {self.url} did not start `{job}`: {error}") from error
