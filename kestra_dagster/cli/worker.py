"""`kestra-dagster worker`."""

from __future__ import annotations

import os

import click

CONCURRENCY = 4


@click.command(short_help="Take runs from a Redis and run them.")
@click.option("--broker", metavar="URL", help="The Redis.  [default: KESTRA_DAGSTER_BROKER]")
@click.option(
    "--concurrency",
    default=CONCURRENCY,
    show_default=True,
    envvar="KESTRA_DAGSTER_WORKER_RUNS",
    type=click.IntRange(1),
    help="Runs at once.",
)
@click.option("--queue", "queues", multiple=True, help="Queue to take from.  [default: dagster]")
def worker(broker: str | None, concurrency: int, queues: tuple[str, ...]) -> None:
    """Take whole runs, as Dagster's daemon hands them out, and run each in its own process.

    The worker uses the instance of DAGSTER_HOME: the same database as the daemon, and the same
    folders of flows and of files. On SIGTERM it takes no more runs and ends with its last one.
    """
    from kestra_dagster.instance import BROKER_VARIABLE
    from kestra_dagster.workers.broker import QUEUE
    from kestra_dagster.workers.worker import serve

    url = broker or os.environ.get(BROKER_VARIABLE)
    if not url:
        raise click.UsageError(f"say where the Redis is: --broker, or {BROKER_VARIABLE}")
    if not os.environ.get("DAGSTER_HOME"):
        raise click.UsageError("a worker needs the instance of the others: set DAGSTER_HOME")
    serve(url, concurrency, queues or (QUEUE,))
