"""`kestra-dagster health`."""

from __future__ import annotations

import os
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
        from kestra_dagster.workers.answering import problem_of

        problem = problem_of(address.hostname or "127.0.0.1", address.port or 4000)
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
