"""`kestra-dagster import`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import", short_help="Fetch the flows of a running Kestra server.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--url", envvar="KESTRA_URL", required=True, help="Address of the server.")
@click.option("--tenant", envvar="KESTRA_TENANT", help="Tenant, where the server has several.")
@click.option("--namespace", help="Only the flows of this namespace and of those below it.")
@click.option("--token", envvar="KESTRA_API_TOKEN", help="API token; better in the environment.")
@click.option("--username", envvar="KESTRA_USERNAME", help="User, where there is no token.")
@click.option(
    "--password",
    envvar="KESTRA_PASSWORD",
    help="Password of the user; asked for when it is not in the environment.",
)
def import_(
    folder: Path,
    url: str,
    tenant: str | None,
    namespace: str | None,
    token: str | None,
    username: str | None,
    password: str | None,
) -> None:
    """Write all flows of a Kestra server to FOLDER, one file each: NAMESPACE/ID.yaml.

    KESTRA_URL, KESTRA_TENANT, KESTRA_API_TOKEN, KESTRA_USERNAME and KESTRA_PASSWORD in the
    environment stand for the options.
    """
    from kestra_dagster.migration.server import KestraServer, import_flows

    if username and not token and password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    server = KestraServer(url, tenant, token, username, password)
    done = import_flows(server, folder, namespace)
    for path in done.new:
        click.echo(f"new      {path}")
    for path in done.changed:
        click.echo(f"changed  {path}")
    for name in done.unusable:
        click.echo(f"skipped  {name}: not a name that a flow can have", err=True)
    flows = "1 flow" if done.count == 1 else f"{done.count} flows"
    click.echo(
        f"{flows} in {folder}: {len(done.new)} new, {len(done.changed)} changed, "
        f"{len(done.same)} as before."
    )
    if done.count:
        click.echo(f"Next: kestra-dagster check {folder}")
    elif namespace:
        click.echo(f"No flow of the server is in the namespace `{namespace}` or below it.")
