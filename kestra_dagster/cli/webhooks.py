"""`kestra-dagster webhooks`."""

from __future__ import annotations

from pathlib import Path

import click

PORT = 8081


@click.command(short_help="Answer requests for webhook triggers.")
@click.option("--port", default=PORT, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--flows",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of flows.  [default: flows]",
)
@click.option("--webserver", metavar="URL", help="Dagster's web server.  [default: port 8080 here]")
def webhooks(port: int, host: str, flows: Path | None, webserver: str | None) -> None:
    """Take requests for webhook triggers, at Kestra's paths; `dev` starts this too.

    Also creates executions with inputs, tells their state and resumes paused ones: with the token
    of KESTRA_DAGSTER_TOKEN, which an address that others can reach needs.
    """
    from kestra_dagster.webhooks.serve import serve

    serve(host, port, flows, webserver)
