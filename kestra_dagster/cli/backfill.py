"""`kestra-dagster backfill`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kestra_dagster.cli.values import read_map, read_pairs

if TYPE_CHECKING:
    from kestra_dagster.flow.model import Flow
    from kestra_dagster.flow.triggers import Trigger


@click.command(short_help="Run a flow for the past dates of its schedule.")
@click.argument("flow")
@click.option("--trigger", "trigger_id", metavar="ID", help="The schedule, if there are several.")
@click.option("--from", "since", required=True, metavar="DATE", help="The first date, or day.")
@click.option("--to", "until", required=True, metavar="DATE", help="The last date, or day.")
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="An input.")
@click.option(
    "--inputs",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON file with inputs; -i wins over it.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option(
    "--flows",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("flows"),
    show_default=True,
    help="Where flows are found by id.",
)
@click.option("--dry-run", is_flag=True, help="Only say which dates there are.")
def backfill(
    flow: str,
    trigger_id: str | None,
    since: str,
    until: str,
    pairs: tuple[str, ...],
    file: Path | None,
    labels: tuple[str, ...],
    folder: Path,
    dry_run: bool,
) -> None:
    """Run FLOW for the dates of its schedule between two dates, one after the other.

    Each execution has its `trigger.date`; conditions of the schedule select dates as they always
    do. A date is `2024-01-31` or `2024-01-31T09:00`, in the zone of the schedule unless it has an
    offset; the day of --to counts to its end. Exit code 1 if an execution failed.
    """
    import kestra_dagster as kd
    from kestra_dagster.local.services import environment_set, services
    from kestra_dagster.orchestration.backfill import backfill_starts, run_start
    from kestra_dagster.orchestration.execution_resource import platform_of
    from kestra_dagster.orchestration.instances import default_instance
    from kestra_dagster.orchestration.trigger_host import TriggerHost, trigger_variables
    from kestra_dagster.tasks.registry import default_registry

    loaded = kd.load(flow, folder)
    trigger = _schedule(loaded, trigger_id)
    first, last = _moment(since, trigger, end=False), _moment(until, trigger, end=True)
    if first > last:
        raise click.UsageError(f"--from {since} is after --to {until}")
    failed = count = 0
    with ExitStack() as stack:
        running = stack.enter_context(services(Path.cwd(), database=True))
        stack.enter_context(environment_set(running.environment))
        instance = stack.enter_context(default_instance(Path.cwd()))
        host = TriggerHost(loaded, platform_of(instance, default_registry()).kv)
        starts = backfill_starts(
            loaded,
            trigger,
            first,
            last,
            host,
            trigger_variables(loaded, host),
            inputs=(read_map(file) if file else {}) | read_pairs(pairs),
            labels={key: str(value) for key, value in read_pairs(labels).items()},
        )
        for start in starts:
            count += 1
            date = start.variables["date"]
            if dry_run:
                click.echo(date)
                continue
            execution = run_start(loaded, start, instance, flows=folder)
            well = execution.state in ("SUCCESS", "WARNING")
            failed += not well
            click.secho(f"{date}  {execution.state}", fg=None if well else "red")
            if not well:
                click.echo(f"  {execution.failure()}")
    if not dry_run:
        click.echo(f"{count} executions, {failed} failed")
    sys.exit(1 if failed else 0)


def _schedule(flow: Flow, wanted: str | None) -> Trigger:
    from kestra_dagster.flow.triggers import Schedule, ScheduleOnDates

    known = [one for one in flow.triggers if isinstance(one.spec, (Schedule, ScheduleOnDates))]
    found = [one for one in known if wanted in (None, one.id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"`{one.id}`" for one in known) or "none"
    if wanted is not None:
        raise click.UsageError(f"`{flow.id}` has no schedule `{wanted}`; it has {names}")
    raise click.UsageError(f"say which schedule of `{flow.id}`, with --trigger: {names}")


def _moment(text: str, trigger: Trigger, *, end: bool) -> datetime:
    """Read a date; one without a time is the beginning or the last second of its day."""
    from datetime import date, time

    from kestra_dagster.expressions.java_time import zone_of
    from kestra_dagster.runtime.host import server_zone

    try:
        if len(text) <= 10:
            clock = time(23, 59, 59) if end else time()
            moment = datetime.combine(date.fromisoformat(text), clock)
        else:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise click.UsageError(
            f"`{text}` is no date; write one like `2024-01-31` or `2024-01-31T09:00:00Z`"
        ) from None
    if moment.tzinfo is not None:
        return moment
    zone = getattr(trigger.spec, "timezone", None)
    return moment.replace(tzinfo=zone_of(zone) if zone else server_zone())
