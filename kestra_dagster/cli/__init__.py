"""The command `kestra-dagster`. Modules here import what is heavy inside their functions."""

from __future__ import annotations

import sys

import click

from kestra_dagster.cli.backfill import backfill
from kestra_dagster.cli.check import check, list_flows
from kestra_dagster.cli.demo import demo
from kestra_dagster.cli.dev import dev
from kestra_dagster.cli.health import health
from kestra_dagster.cli.import_flows import import_
from kestra_dagster.cli.life import kill, replay, restart, resume
from kestra_dagster.cli.purge import purge
from kestra_dagster.cli.render import render
from kestra_dagster.cli.run import run
from kestra_dagster.cli.schema import schema
from kestra_dagster.cli.webhooks import webhooks
from kestra_dagster.cli.worker import worker
from kestra_dagster.errors import KestraDagsterError, TerminalError

FAILED = 1
INVALID = 2
"""Exit code for input or a flow that cannot be used, as click has it for bad options."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kestra-dagster")
def cli() -> None:
    """Run Kestra flows on Dagster."""


COMMANDS = (
    run,
    resume,
    restart,
    replay,
    kill,
    render,
    check,
    import_,
    list_flows,
    schema,
    dev,
    demo,
    webhooks,
    worker,
    health,
    backfill,
    purge,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; an error on purpose is one message on standard error."""
    try:
        cli()
    except TerminalError as error:
        click.echo(str(error), err=True)
        sys.exit(INVALID)
    except KestraDagsterError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
