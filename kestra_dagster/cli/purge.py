"""`kestra-dagster purge`."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kestra_dagster.storage.purge import Purged


@click.command(short_help="Delete the logs of old runs; the history of assets stays.")
@click.option(
    "--older-than",
    "days",
    required=True,
    type=click.FloatRange(min=0, max=36_500),
    metavar="DAYS",
    help="Of runs that ended more than so many days ago.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
def purge(days: float, dry_run: bool) -> None:
    """Delete from Dagster's event log what runs said that ended long ago.

    What stays: the runs, with state and tags; how each ended; materializations, observations and
    checks of assets. A failed run without its log can be run again as a whole, but no longer "from
    failure" in Dagster's UI. May be interrupted, and run beside all else.
    """
    from rich.console import Console

    from kestra_dagster.cli.run import enter_services
    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.storage.purge import purge as purge_events

    console = Console(soft_wrap=True, highlight=False)
    before = datetime.now().astimezone() - timedelta(days=days)
    when = f"runs that ended before {before:%Y-%m-%d %H:%M}"
    with ExitStack() as stack:
        enter_services(stack, database=True, s3=False)
        instance = stack.enter_context(default_instance(Path.cwd()))
        with console.status(f"looking for {when}") as status:

            def tell(done: Purged) -> None:
                status.update(f"{done.looked_at:,} {when}, {done.rows:,} events so far")

            done = purge_events(instance, before, dry_run=dry_run, tell=tell)
    if not done.looked_at:
        console.print(f"there are no {when}")
        return
    verb = "would delete" if dry_run else "deleted"
    console.print(f"{verb} {done.rows:,} events of {done.runs:,} out of {done.looked_at:,} {when}")
