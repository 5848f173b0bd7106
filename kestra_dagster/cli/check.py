"""`kestra-dagster check` and `kestra-dagster list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from kestra_dagster.cli.values import to_json


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON list.")
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check flow files, and all flow files in folders, without running them.

    Exit code 0 if no error was found (there may be warnings), 2 if any was.
    """
    import kestra_dagster as kd
    from kestra_dagster.flow.diagnostics import format_diagnostics, has_errors

    found = [finding for path in paths for finding in kd.check(path)]
    if as_json:
        click.echo(to_json([finding.to_dict() for finding in found], indent=2))
    elif found:
        click.echo(format_diagnostics(found))
    else:
        click.echo("No problems found.")
    sys.exit(2 if has_errors(found) else 0)


@dataclass(frozen=True)
class FlowFile:
    """A file that says it is a flow; the rest of it may be wrong."""

    file: Path
    id: str
    namespace: str
    description: str


def flow_files(folder: Path) -> Iterator[FlowFile]:
    """Yield the flows of a folder by file name, with what their files say at the top."""
    from kestra_dagster.flow.reader import read_document

    for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        data = read_document(file.read_text(encoding="utf-8"), str(file))[0].data or {}
        if "id" in data and "tasks" in data:
            about = str(data.get("description") or "").strip().partition("\n")[0]
            yield FlowFile(file, str(data["id"]), str(data.get("namespace", "")), about)


@click.command("list")
@click.option(
    "--flows",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("flows"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Print the flows as a JSON list.")
def list_flows(folder: Path, as_json: bool) -> None:
    """List the flows of a folder."""
    found = list(flow_files(folder))
    if as_json:
        click.echo(to_json([vars(flow) for flow in found], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("FLOW", "NAMESPACE", "FILE", "DESCRIPTION"):
        table.add_column(heading, overflow="fold")
    for flow in found:
        table.add_row(flow.id, flow.namespace, str(flow.file), flow.description)
    Console().print(table)
