"""`kestra-dagster dev`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import click

if TYPE_CHECKING:
    from kestra_dagster.local.services import Services

HOST = "127.0.0.1"
START_SECONDS = 180


@click.command(short_help="Open the Dagster UI, with all that flows need.")
@click.option("--port", default=8080, show_default=True, help="Port of the web pages.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--flows",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of flows.  [default: flows]",
)
@click.option(
    "--webhook-port", type=int, help="Port for webhooks.  [default: the one after --port, if free]"
)
def dev(port: int, host: str, flows: Path | None, webhook_port: int | None) -> None:
    """Start the Dagster UI with every flow of flows/ as a job; Ctrl-C ends all that it started.

    Runs, events and files are kept in .dagster_home/. A local S3 and a local EMR are started too,
    unless the environment already says where S3 is or holds credentials for it.
    """
    from kestra_dagster.lake.local_platform import local_platform
    from kestra_dagster.local.lease import Lease
    from kestra_dagster.local.listing import listing_server
    from kestra_dagster.local.servers import start_guardian, wait_for_end
    from kestra_dagster.local.services import has_own_s3, services

    refuse_busy_port(host, port)
    if webhook_port is not None:
        refuse_busy_port(host, webhook_port, "--webhook-port")
    hooks = f"{host}:{webhook_port or near_port(host, port + 1)}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A shell that starts this in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name = f"dev-{os.getpid()}"
    click.echo("Starting ...")
    with ExitStack() as stack:
        running = stack.enter_context(services(Path.cwd(), s3=not has_own_s3()))
        source = stack.enter_context(listing_server())
        platform = stack.enter_context(local_platform(running.s3)) if running.s3 else {}
        lease = Lease(running.home / f"{name}.lease")
        stack.callback(wait_for_end, running.home, name)
        stack.callback(lease.release)
        environment = {**os.environ, **running.environment, **platform}
        environment |= {
            "KESTRA_DAGSTER_WEBHOOKS_AT": hooks,
            "KESTRA_DAGSTER_WEBHOOKS_URL": f"http://{hooks.replace('0.0.0.0', 'localhost')}",
            "KESTRA_DAGSTER_WEBSERVER": f"http://{host}:{port}",
        }
        environment.setdefault("KESTRA_DAGSTER_WARM_RUNS", "yes")
        if flows:
            environment["KESTRA_DAGSTER_FLOWS"] = str(flows.absolute())
        command = [sys.executable, "-m", "kestra_dagster.cli.dagster_dev"]
        command += ["-m", "kestra_dagster.definitions", "-h", host, "-p", str(port)]
        # At `info` the daemon says two lines a sensor and tick, every few seconds.
        command += ["--log-level", "warning"]
        try:
            guardian = start_guardian(running.home, "run", name, *command, environment=environment)
            say_what_runs(running, source, platform.get("AWS_ENDPOINT_URL_EMR"))
            click.echo(f"Webhooks:         http://{hooks}/api/v1/executions/webhook/...")
            wait_for_page(host, port, guardian)
            click.secho(f"\n  Dagster UI: http://localhost:{port}   (Ctrl-C ends it)\n", bold=True)
            sys.exit(guardian.wait())
        except KeyboardInterrupt:
            click.echo("\nStopping ...")


def near_port(host: str, port: int) -> int:
    """Return a port, or any other that is free where something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            probe.bind((host, 0))
        return int(probe.getsockname()[1])


def refuse_busy_port(host: str, port: int, option: str = "--port") -> None:
    """Raise a usage error if something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.UsageError(
                f"cannot listen on port {port} of {host}: {error.strerror}. "
                f"Stop what uses it, or choose another: kestra-dagster dev {option} {port + 1}"
            ) from None


def say_what_runs(running: Services, source: str, emr: str | None) -> None:
    """Print what was started beside Dagster."""
    from kestra_dagster.lake.local_emr.java import java_problem

    for notice in running.notices:
        click.secho(notice, fg="yellow")
    click.echo(f"Home folder:      {running.home}")
    if running.s3:
        click.echo(f"Local S3:         {running.s3.endpoint}, buckets in {running.s3.folder}")
    if emr:
        click.echo(f"Local EMR:        {emr}, runs the Spark jobs of raw/ and processed/")
        if problem := java_problem():
            click.secho(f"                  {problem}. All else works.", fg="yellow")
    click.echo(f"Sample listings:  {source}/r/news.json, {source}/r/sports.json")


def wait_for_page(host: str, port: int, guardian: subprocess.Popen[bytes]) -> None:
    """Wait until the web server answers; raise an error if it ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and guardian.poll() is None:
        if _answers(f"http://{host}:{port}/server_info"):
            return
        time.sleep(0.2)
    raise click.ClickException("Dagster did not start; its messages above say why")


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False
