"""`kestra-dagster health`."""

from __future__ import annotations

import os
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import click

SECONDS = 5.0


@click.command(short_help="Say whether a service of a deployment answers.")
@click.argument("service")
def health(service: str) -> None:
    """Ask a service whether it can do its work; the exit code is 0 if it says so.

    SERVICE is `http://host:port/path` of a web server, `grpc://host:port` of a code location, or
    `worker`: the one of this container.
    """
    address = urlsplit(service)
    if address.scheme in ("http", "https"):
        problem = _http(service)
    elif address.scheme == "grpc":
        problem = _grpc(address.netloc)
    elif service == "worker":
        problem = _worker()
    else:
        raise click.UsageError(f"`{service}` is none of http://..., grpc://... and worker")
    if problem:
        raise click.ClickException(f"{service}: {problem}")
    click.echo(f"{service} answers")


def _http(url: str) -> str | None:
    try:
        with urlopen(url, timeout=SECONDS):
            return None
    except (URLError, OSError) as error:
        return str(error)


def _grpc(address: str) -> str | None:
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    with grpc.insecure_channel(address) as channel:
        check: Any = HealthStub(channel).Check  # pyright: ignore[reportAttributeAccessIssue]
        try:
            answer = check(HealthCheckRequest(service="DagsterApi"), timeout=SECONDS)
        except grpc.RpcError as error:
            return getattr(error, "details", lambda: None)() or str(error)
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    return None if name == "SERVING" else f"its status is {name}"


def _worker() -> str | None:
    import socket

    from kestra_dagster.workers.broker import NAME, celery_app

    broker = os.environ.get("KESTRA_DAGSTER_BROKER")
    if not broker:
        return "KESTRA_DAGSTER_BROKER is not set"
    node = f"{NAME}@{socket.gethostname()}"
    try:
        answers = celery_app(broker).control.ping([node], timeout=SECONDS, limit=1)
    except Exception as error:  # what a broker that is away raises is up to its client
        return f"the broker does not answer: {error}"
    return None if answers else f"`{node}` does not answer"
